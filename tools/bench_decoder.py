"""Time the decoder's first convolution and first gated block in both forms.

    python tools/bench_decoder.py [--repeats 5] [--threads 1] [--device cpu] [--clock wall]

"plain" up-samples by nearest and convolves with 3×3; "ours" convolves four times with 2×2 at the lower resolution. The
forms take turns in one run, so that whatever else the machine does slows both; times are medians. "ratio" is plain over
ours, above 1 where ours is faster. The last line is the table as JSON. On a busy machine `--clock cpu` counts the
process's own time only (with one thread).
"""
import argparse, json, statistics, time
import torch, torch.nn.functional as F
from tcl_nb.core import command
from tcl_nb.grounder import GatedConv, conv_upsampled

SIZES = (8, 128, 8), (8, 128, 16), (1, 768, 14), (4, 768, 14) # batch, channels, side before up-sampling

def up(x): return F.interpolate(x, scale_factor=2)
def conv_plain(block, x): return F.conv2d(up(x), block.conv.weight, block.conv.bias, padding=1)
def conv_ours(block, x): return conv_upsampled(x, block.conv.weight, block.conv.bias)
def block_ours(block, x): return block(x, upsample=True)
def block_plain(block, x):
    x = up(x)
    return x + block.gate.tanh()*block.conv(F.gelu(block.norm(x)))

FORMS = {'convolution': (conv_plain, conv_ours), 'gated block': (block_plain, block_ours)}

CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}

def seconds(run, clock):
    if torch.cuda.is_available(): torch.cuda.synchronize()
    start = clock()
    run()
    if torch.cuda.is_available(): torch.cuda.synchronize()
    return clock() - start

def measure(forms, block, x, repeats, clock):
    "Median (forward, forward and backward) milliseconds of each form"
    def forward(f):
        with torch.no_grad(): f(block, x)
    def both(f):
        block.zero_grad()
        x.grad = None
        f(block, x).backward(torch.ones_like(up(x)))
    times = [[[], []] for _ in forms]
    for k in range(repeats+1):
        for i in (0, 1) if k % 2 else (1, 0):
            for j, run in enumerate((forward, both)):
                t = seconds(lambda: run(forms[i]), clock)
                if k: times[i][j].append(1000*t) # the first turn warms up
    return [[statistics.median(t) for t in pair] for pair in times]

@command
def bench_decoder(argv=None):
    ap = argparse.ArgumentParser(prog='bench_decoder.py', description="Time the decoder's first convolution and first "
                                                                      "gated block in both forms.")
    ap.add_argument('--repeats', type=int, default=5, help='turns that count (default 5)')
    ap.add_argument('--threads', type=int, default=1, help='CPU threads (default 1)')
    ap.add_argument('--device', default='cpu', help="'cpu' or 'cuda'")
    ap.add_argument('--clock', choices=CLOCKS, default='wall', help="'cpu' counts this process's own time only")
    args = ap.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rows = []
    print(f'{"":<13}{"batch":>6}{"channels":>10}{"size":>9}  '
          f'{"form":<6}{"forward":>11}{"and backward":>14}{"ratios":>11}')
    for batch, width, side in SIZES:
        block = GatedConv(width).to(args.device)
        block.gate.data.fill_(.5)
        x = torch.randn(batch, width, side, side,
                        device=args.device).contiguous(memory_format=torch.channels_last).requires_grad_()
        for what, forms in FORMS.items():
            times = measure(forms, block, x, args.repeats, CLOCKS[args.clock])
            gain = [p/o for p, o in zip(*times)]
            for form, (f, b) in zip(('plain', 'ours'), times):
                tail = f'{gain[0]:>7.2f}{gain[1]:>7.2f}' if form == 'ours' else ''
                print(f'{what:<13}{batch:>6}{width:>10}{f"{side}→{2*side}":>9}  {form:<6}{f:>8.2f} '
                      f'ms{b:>11.2f} ms{tail}', flush=True)
                rows.append(dict(what=what, batch=batch, channels=width, side=side, form=form, forward_ms=round(f, 3),
                                 both_ms=round(b, 3)))
    print(json.dumps(dict(torch=torch.__version__, device=args.device, threads=args.threads, clock=args.clock,
                          repeats=args.repeats, rows=rows)))

if __name__ == '__main__': bench_decoder()
