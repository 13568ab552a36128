"""Seconds of the frozen trunk in float32 and in bfloat16 on this processor.

    python tools/bench_trunk.py [--side 224] [--threads 1] [--turns 3]

A ViT-B/16 of the published size with seeded random weights reads one random picture, by turns in both types; the
faster turn of each counts, in the process's own time. 'instructions' are those that the processor has for bfloat16
(Linux says so). The last line is JSON.
"""
import argparse, json, re, time
from pathlib import Path
import torch
from tcl_nb.clip import load_clip

WANTED = 'avx512_bf16', 'amx_bf16', 'bf16'

def instructions():
    "The processor's instructions for bfloat16; None where it cannot be asked"
    try: flags = re.search(r'^(?:flags|Features)\s*:(.*)$', Path('/proc/cpuinfo').read_text(), re.M)[1].split()
    except (OSError, TypeError): return None
    return [k for k in WANTED if k in flags]

def timed(clip, image, kind):
    "(tokens, processor seconds)"
    start = time.process_time()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=kind == 'bfloat16'): out = clip.trunk(image)
    return out.float(), time.process_time()-start

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    for k, default in dict(side=224, threads=1, turns=3).items(): ap.add_argument(f'--{k}', type=int, default=default)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    clip, kinds = load_clip('ViT-B-16-quickgelu'), ('float32', 'bfloat16')
    torch.manual_seed(0)
    image = torch.randn(1, 3, args.side, args.side)
    for kind in kinds: timed(clip, image, kind)
    turns = [{kind: timed(clip, image, kind) for kind in kinds} for _ in range(args.turns)]
    best = {kind: min(turn[kind][1] for turn in turns) for kind in kinds}
    whole, half = (turns[0][kind][0] for kind in kinds)
    off = ((half-whole).norm()/whole.norm()).item()
    has = instructions()
    print(f"instructions for bfloat16: {'not known' if has is None else ', '.join(has) or 'none'}")
    for kind in kinds: print(f'{kind:<9}{best[kind]:>8.3f} s')
    print(f"bfloat16/float32 {best['bfloat16']/best['float32']:.2f}; tokens differ by {off:.1e} of their length")
    print(json.dumps(dict(threads=args.threads, side=args.side, torch=torch.__version__, instructions=has,
                          seconds={k: round(v, 4) for k, v in best.items()},
                          ratio=round(best['bfloat16']/best['float32'], 3), difference=off)))

if __name__ == '__main__': main()
