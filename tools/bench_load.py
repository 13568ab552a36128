"""Time to load a tower and a grounder of the published size, with initial weights drawn first and without (chapter 02)

    python tools/bench_load.py [--threads 2] [--repeats 5]

Seeded random weights of a ViT-B/16 and of its grounder are written to a CLIP checkpoint and a tcl.pth. 'read' is
torch.load alone; 'filled' builds the networks with random weights first, as PyTorch does by itself; 'unfilled' is the
package's way. Each run is a fresh process, as a command is: memory that a process has used before would be quicker. The
forms take turns, so that other work on the machine meets all of them, and the time of each is that of its fastest turn.
Imports and, for the grounder, the tower's loading are not counted; the files lie in the system's cache. Prints a table,
and as the last line JSON. Exit code 1 when the weights differ.
"""
import argparse, hashlib, json, sys, tempfile, time
from contextlib import nullcontext
from pathlib import Path
from unittest import mock
from measure import in_a_process

NAME = 'ViT-B-16-quickgelu'
FORMS = 'read', 'filled', 'unfilled'

def digest(state):
    "A hash of all weights"
    out = hashlib.blake2b(digest_size=8)
    for k, t in sorted(state.items()):
        out.update(k.encode())
        out.update(t.contiguous().numpy())
    return out.hexdigest()

def measure(args):
    "In the child: seconds of one form, and a hash of the weights"
    import torch
    from tcl_nb import clip as clip_module, grounder as grounder_module
    torch.set_num_threads(args.threads)
    file = args.clip if args.what == 'tower' else args.grounder
    tower = clip_module.load_clip(NAME, args.clip) if args.what == 'grounder' and args.form != 'read' else None
    if args.form == 'filled':
        for module in (clip_module, grounder_module): mock.patch.object(module, 'Unfilled', nullcontext).start()
    start = time.perf_counter()
    if args.form == 'read': torch.load(file, weights_only=True)
    elif args.what == 'tower': made = clip_module.load_clip(NAME, file)
    else: made = grounder_module.load_grounder(file, tower)
    seconds = time.perf_counter()-start
    print(json.dumps(dict(seconds=seconds, digest='' if args.form == 'read' else digest(made.state_dict()))))

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--threads', type=int, default=2)
    ap.add_argument('--repeats', type=int, default=5)
    for hidden in ('form', 'what', 'clip', 'grounder'): ap.add_argument(f'--{hidden}', help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.form: return measure(args)
    from bench_segment import seeded
    with tempfile.TemporaryDirectory() as folder:
        _, grounder, _, clip = seeded(Path(folder))
        rows = []
        print(f"{'seconds':<12}{'read':>8}{'filled':>10}{'unfilled':>10}")
        for what in ('tower', 'grounder'):
            options = [f'--{k}={v}' for k, v in dict(what=what, clip=clip, grounder=grounder,
                                                     threads=args.threads).items()]
            turns = [{form: in_a_process(__file__, [f'--form={form}', *options], args.threads) for form in FORMS}
                     for _ in range(args.repeats)]
            if len({turn[form]['digest'] for turn in turns for form in FORMS[1:]}) > 1:
                sys.exit(f'the weights of the {what} differ')
            best = {form: round(min(turn[form]['seconds'] for turn in turns), 3) for form in FORMS}
            rows.append(dict(what=what, **best))
            print(f"{what:<12}{best['read']:>8.2f}{best['filled']:>10.2f}{best['unfilled']:>10.2f}", flush=True)
    import torch
    print(json.dumps(dict(threads=args.threads, torch=torch.__version__, rows=rows)))

if __name__ == '__main__': main()
