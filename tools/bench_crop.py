"""What tcl_segment --crop 0 saves and costs: whole pictures in one pass in place of windows.

    python tools/bench_crop.py [--threads 2] [--turns 3]

The model photo, with its usual settings, on photographs of scikit-image and the words below. For each: seconds with windows and
whole (the faster of several turns, taken alternately; loading is not counted), windows, and the share of pixels whose
label is the same. Labels are those of trained weights; seconds for other towers are in the proportion of the pixels that they read.
Prints a table, and as the last line JSON.
"""
import argparse, json, time
import torch
from skimage import data
from tcl_nb.core import fit_size
from tcl_nb.segmentation import Segmenter, windows

PHOTOS = {'astronaut': 'woman, flag, rocket, space suit', 'coffee': 'cup, spoon, table, saucer',
          'chelsea': 'cat, cushion', 'rocket': 'rocket, sky, grass, tower', 'hubble_deep_field': 'galaxy, sky'}

def timed(segmenter, picture, words, **changes):
    "(labels, seconds)"
    start = time.perf_counter()
    labels = segmenter.segment(picture, words, **changes).labels
    return labels, time.perf_counter()-start

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--threads', type=int, default=2)
    ap.add_argument('--turns', type=int, default=3)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    segmenter = Segmenter.from_pretrained('photo', device='cpu')
    s = segmenter.settings
    print(f"{'photograph':<20}{'size':>11}{'windows':>9}{'seconds':>9}{'whole':>8}{'same labels':>13}")
    rows = []
    for name, words in PHOTOS.items():
        picture = getattr(data, name)()[..., :3]
        h, w = picture.shape[:2]
        size = fit_size((h, w), s.short, s.long)
        timed(segmenter, picture, words)
        turns = [(timed(segmenter, picture, words), timed(segmenter, picture, words, crop=0))
                 for _ in range(args.turns)]
        (parts, _), (whole, _) = turns[0]
        row = dict(photograph=name, width=w, height=h, windows=len(windows(size, s.crop, s.stride)),
                   seconds=round(min(t[0][1] for t in turns), 2),
                   whole=round(min(t[1][1] for t in turns), 2), same=round((parts == whole).float().mean().item(), 4))
        rows.append(row)
        print(f"{name:<20}{f'{w}×{h}':>11}{row['windows']:>9}{row['seconds']:>9.2f}{row['whole']:>8.2f}{row['same']:>13.1%}", flush=True)
    total = {k: round(sum(r[k] for r in rows), 2) for k in ('seconds', 'whole')}
    print(json.dumps(dict(threads=args.threads, torch=torch.__version__, turns=args.turns, rows=rows, **total,
                          time_share=round(total['whole']/total['seconds'], 2),
                          same=round(sum(r['same'] for r in rows)/len(rows), 3))))

if __name__ == '__main__': main()
