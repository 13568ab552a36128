"""Time and memory of PAMR: the package's form beside the plain one with its 48 copies of every mask.

    python tools/bench_pamr.py [--classes 171] [--height 112] [--width 112] [--threads 2] [--repeats 9]
                               [--clock cpu]

Each form runs in a fresh Python process of its own, with the same random image and masks. A call is everything from
image and masks to refined masks: affinities, the making of the matrix, all iterations.

Time is that of the fastest of the repeats, so that other work on the machine counts as little as it can;
with --clock cpu it is the process's own.

Memory is what the first call needs beyond what was there before it (see measure.py): image and masks lie ready, and a
call on a map of 8×8 has loaded the libraries.

Prints a table, and as the last line JSON with times, memories, and the ratios of the package's form to the plain one.
"""
import argparse, json
from measure import in_a_process, measuring

FORMS = dict(plain='pamr_plain', shifts='pamr_shifts', pamr='pamr')

def measure(args):
    "In the child: times, extra memory and a sample of the result"
    import torch
    from tcl_nb import pamr as module
    form = getattr(module, FORMS[args.form])
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    draw = lambda channels, h, w: torch.rand(1, channels, h, w, generator=generator)
    form(draw(3, 8, 8), draw(2, 8, 8))
    image, mask = draw(3, args.height, args.width), draw(args.classes, args.height, args.width)
    calls = []
    for _ in range(args.repeats):
        with measuring(args.clock) as m: out = form(image, mask, args.iterations)
        calls.append(m)
    sample, times = out.flatten()[::max(1, out.numel()//200)].tolist(), [m['seconds'] for m in calls]
    print(json.dumps(dict(seconds=min(times), slowest=max(times), megabytes=calls[0]['bytes']/1e6, sample=sample)))

def child(form, args):
    "Measure one form in a fresh process"
    sizes = [f'--{k}={getattr(args, k)}' for k in ('classes', 'height', 'width', 'threads', 'iterations', 'repeats')]
    return in_a_process(__file__, ['--form', form, '--clock', args.clock, *sizes], args.threads)

def share(ours, plain): return f'1/{plain/ours:.0f}' if plain > ours else f'{ours/plain:.1f}'

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    for k, default in dict(classes=171, height=112, width=112, threads=2, iterations=10, repeats=9).items():
        ap.add_argument(f'--{k}', type=int, default=default)
    ap.add_argument('--clock', choices=('wall', 'cpu'), default='wall')
    ap.add_argument('--form', choices=FORMS, help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.form: return measure(args)
    rows = {form: child(form, args) for form in FORMS}
    plain, ours = rows['plain'], rows['pamr']
    print(f'{args.classes} classes at {args.height} × {args.width}, {args.iterations} iterations, {args.threads} '
          f'threads, best of {args.repeats}, {args.clock} clock')
    print(f'{"form":<8}{"seconds":>9}{"(slowest)":>11}{"extra MB":>10}{"time":>9}{"memory":>9}{"difference":>12}')
    for form, r in rows.items():
        gap = max(abs(a-b) for a, b in zip(r['sample'], plain['sample']))
        times, sizes = share(r["seconds"], plain["seconds"]), share(r["megabytes"], plain["megabytes"])
        print(f'{form:<8}{r["seconds"]:>9.3f}{r["slowest"]:>11.3f}{r["megabytes"]:>10.1f}{times:>9}{sizes:>9}{gap:>12.1e}')
    report = {k: getattr(args, k) for k in ('classes', 'height', 'width', 'iterations', 'threads', 'repeats')}
    for form, r in rows.items(): report |= {f'{form}_seconds': r['seconds'], f'{form}_megabytes': r['megabytes']}
    print(json.dumps(report | dict(time_ratio=ours['seconds']/plain['seconds'],
                                   memory_ratio=ours['megabytes']/plain['megabytes'])))

if __name__ == '__main__': main()
