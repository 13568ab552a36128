"""What tcl_segment --crop 0 saves and costs: whole pictures in one pass in place of windows.

    python tools/bench_crop.py [--threads 2] [--turns 3] [--models photo large] [--clock cpu]

Photographs of scikit-image and the words below, with two models. 'photo' comes with the package: its weights are
trained, so its labels can be compared. It reads pictures whole by itself; here its windows are as wide as the short
side and half as far apart, which is the published system's rule. 'large' is a ViT-B/16 of the published size, with the
published settings and seeded random weights: its labels mean nothing and are left out, its seconds are those of real
weights.

A line says how many windows a photograph has, the seconds with windows and whole (the faster of several turns, taken
alternately; loading and words are not counted; --clock cpu counts the process's own time, on a machine that does other
things), and the share of pixels whose label is the same. Prints a table, and as the last line JSON.
"""
import argparse, json, time
import torch
from skimage import data
from tcl_nb.clip import load_clip
from tcl_nb.core import fit_size
from tcl_nb.grounder import Grounder
from tcl_nb.segmentation import Segmenter, windows

PHOTOS = {'astronaut': 'woman, flag, rocket, space suit', 'coffee': 'cup, spoon, table, saucer',
          'chelsea': 'cat, cushion', 'rocket': 'rocket, sky, grass, tower', 'hubble_deep_field': 'galaxy, sky'}
CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}

def segmenter_of(model):
    "A segmenter with the package's tower, or with a seeded one of the published size"
    if model == 'photo': return Segmenter.from_pretrained('photo', device='cpu')
    clip = load_clip('ViT-B-16-quickgelu')
    torch.manual_seed(0)
    segmenter = Segmenter(clip, Grounder(clip, gate=.1).eval())
    segmenter.grounder.keep_kernels()
    return segmenter

def timed(segmenter, picture, words, now, **changes):
    "(labels, seconds)"
    start = now()
    labels = segmenter.segment(picture, words, **changes).labels
    return labels, now()-start

def compare(segmenter, name, words, args):
    "One photograph with windows and whole → a row of the table"
    picture, now, s = getattr(data, name)()[..., :3], CLOCKS[args.clock], segmenter.settings
    parts = dict(crop=s.crop or s.short, stride=s.stride if s.crop else s.short//2)
    timed(segmenter, picture, words, now, **parts)
    turns = [(timed(segmenter, picture, words, now, **parts), timed(segmenter, picture, words, now, crop=0))
             for _ in range(args.turns)]
    seconds, whole = (min(turn[k][1] for turn in turns) for k in (0, 1))
    h, w = picture.shape[:2]
    same = (turns[0][0][0] == turns[0][1][0]).float().mean().item()
    return dict(photograph=name, width=w, height=h, windows=len(windows(fit_size((h, w), s.short, s.long), **parts)),
                seconds=round(seconds, 2), whole=round(whole, 2), share=round(whole/seconds, 2), same=round(same, 4))

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--threads', type=int, default=2)
    ap.add_argument('--turns', type=int, default=3)
    ap.add_argument('--models', nargs='+', default=['photo', 'large'], choices=['photo', 'large'])
    ap.add_argument('--clock', choices=CLOCKS, default='wall', help="'cpu' counts the process's own time only")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{'model':<7}{'photograph':<19}{'size':>9}{'windows':>9}{'seconds':>9}{'whole':>8}{'of it':>7}"
          f"{'same labels':>13}")
    report = dict(threads=args.threads, clock=args.clock, turns=args.turns, torch=torch.__version__)
    for model in args.models:
        segmenter, rows = segmenter_of(model), []
        for name, words in PHOTOS.items():
            row = compare(segmenter, name, words, args)
            if model == 'large': del row['same']
            rows.append(row)
            said = f"{row['same']:>13.1%}" if 'same' in row else ''
            print(f"{model:<7}{name:<19}{f'''{row['width']}×{row['height']}''':>9}{row['windows']:>9}"
                  f"{row['seconds']:>9.2f}{row['whole']:>8.2f}{row['share']:>7.2f}{said}", flush=True)
        seconds, whole = (sum(row[k] for row in rows) for k in ('seconds', 'whole'))
        same = {} if model == 'large' else dict(same=round(sum(row['same'] for row in rows)/len(rows), 4))
        said = f"{same['same']:>13.1%}" if same else ''
        print(f"{model:<7}{'together':<19}{'':>9}{sum(row['windows'] for row in rows):>9}{seconds:>9.2f}{whole:>8.2f}"
              f"{whole/seconds:>7.2f}{said}", flush=True)
        report[model] = dict(rows=rows, seconds=round(seconds, 2), whole=round(whole, 2),
                             share=round(whole/seconds, 3), **same)
    print(json.dumps(report))

if __name__ == '__main__': main()
