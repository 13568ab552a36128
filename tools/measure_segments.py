"""What PAMR, superpixels and proxy affinity are worth to TCL's masks on the small world: rows of a json.

    python tools/measure_segments.py --json nbs/results/segments.json [--scenes 300]

The bundled grounder on the four test sets. The sizes of regions and the power of the affinity are chosen on the validation scenes, without
PAMR, by the best mIoU there; each row's background threshold is the one that is best on the validation scenes for that row. `spread` is the
standard deviation over 200 draws of as many scenes, with replacement, from the set.

    python tools/measure_segments.py --json nbs/results/segments_photo.json --images DIR --labels DIR --classes FILE

The same on photographs with labels (as for `tcl_eval --images`), with the model `photo` and without a background. The sizes of regions
are chosen on every other photograph, and the rows count the ones between.
"""
import argparse, json, platform, time
from datetime import date
from functools import partial
from pathlib import Path
import torch, torch.nn.functional as F
import skimage
from tcl_nb import __version__
from tcl_nb.benchmarks import folder_benchmark
from tcl_nb.clip import load_clip
from tcl_nb.core import fit_size, normalise, resize, strips, writing
from tcl_nb.evaluation import class_labels, confusion, label, mean_iou
from tcl_nb.grounder import load_grounder
from tcl_nb.pamr import pamr
from tcl_nb.segmentation import SMALL_SETTINGS, Segmenter, felzenszwalb, region_means, slic, tcl_system
from tcl_nb.smallworld import SmallWorld

SETS = 'seen', 'new_words', 'new_designs', 'stuff'
SIDES = [dict(side=s) for s in (3, 4, 6, 8, 11)]
SCALES = [dict(scale=float(s), least=m) for s in (20, 50, 100, 200) for m in (10, 20, 40)]
POWERS = 1., 2., 4., 8., 16.

class Small:
    "The small world's sets, read once: pictures, truth, and TCL's masks for a power of the affinity"
    def __init__(self, n):
        self.world, self.clip, self.n = SmallWorld.load(), load_clip('small'), n
        self.grounder, self.kept, self.cut = load_grounder('small', self.clip), {}, {}
    def scenes(self, name):
        if name not in self.kept: self.kept[name] = self.world.scenes(name, self.n, 0)
        return self.kept[name]
    def truth(self, name): return class_labels(self.scenes(name).labels, self.world, self.world.split(name))
    def masks(self, name, power, refine):
        "[n,N,64,64]"
        key = name, power, refine
        if key not in self.kept:
            text = self.clip.class_embedding(self.world.split(name).names)
            system = tcl_system(self.clip, self.grounder, refine=partial(pamr, dilations=SMALL_SETTINGS.dilations)
                                if refine else None, affinity=power)
            maps = [system(normalise(x), text) for x in self.scenes(name).image.split(50)]
            self.kept[key] = F.interpolate(torch.cat(maps), size=(64, 64), mode='bilinear', align_corners=False)
        return self.kept[key]
    def regions(self, name, make, how):
        key = name, make.__name__, json.dumps(how)
        if key not in self.cut: self.cut[key] = [make(x, **how) for x in self.scenes(name).image]
        return self.cut[key]

def best_of(small, name, row):
    "(winner, its score) at every pixel"
    maps = small.masks(name, row['power'], row['pamr'])
    if row['make']:
        maps = torch.stack([region_means(m, r) for m, r in zip(maps, small.regions(name, row['make'], row['how']))])
    score, best = maps.max(1)
    return best, score

def matrices(small, name, best, score, threshold):
    "A confusion matrix for each scene [n,c,c]"
    split = small.world.split(name)
    predicted = label(best, score, threshold) if split.background else best
    return torch.stack([confusion(p, t, len(split.names) + split.background)
                        for p, t in zip(predicted, small.truth(name))])

def at_best(small, row):
    "(threshold, mIoU) on the validation scenes"
    best, score = best_of(small, 'val', row)
    curve = {t/100: mean_iou(matrices(small, 'val', best, score, t/100).sum(0)) for t in range(2, 90, 2)}
    return max(curve.items(), key=lambda kv: kv[1])

def chosen(small, rows):
    "The row that is best on the validation scenes, and what each reached"
    found = [at_best(small, row)[1] for row in rows]
    for row, miou in zip(rows, found): print(told(row), round(miou, 2), flush=True)
    return rows[found.index(max(found))]

def versions():
    return dict(tcl_nb=__version__, torch=torch.__version__, skimage=skimage.__version__,
                python=platform.python_version())

def row(power=0., pamr=False, make=None, **how): return dict(power=power, pamr=pamr, make=make, how=how)
def told(row):
    return dict(power=row['power'], pamr=row['pamr'], segments=row['make'] and row['make'].__name__, **row['how'])

def spread(counts, draws=200):
    "Standard deviation of mIoU over draws of scenes"
    g = torch.Generator().manual_seed(0)
    return torch.tensor([mean_iou(counts[torch.randint(len(counts), (len(counts),), generator=g)].sum(0))
                         for _ in range(draws)]).std().item()

def measured(small, one):
    "A row of the table"
    start = time.process_time()
    threshold, val = at_best(small, one)
    out = dict(told(one), threshold=threshold, val=round(val, 2))
    for name in SETS:
        counts = matrices(small, name, *best_of(small, name, one), threshold)
        out[name], out[f'{name}_spread'] = round(mean_iou(counts.sum(0)), 2), round(spread(counts), 2)
    small.kept = {k: v for k, v in small.kept.items() if isinstance(k, str) or k[1] == one['power']} # memory has an end
    print(out, round(time.process_time() - start), 's', flush=True)
    return out

PHOTO_SIDES = [dict(side=s) for s in (8, 16, 24, 32)]
PHOTO_SCALES = [dict(scale=float(s), least=m) for s in (50, 200) for m in (100, 400)]

def on_photographs(args):
    "Rows on photographs with labels"
    own = folder_benchmark(args.images, args.labels, args.classes)
    segmenter = Segmenter.from_pretrained('photo', device='cpu')
    variants = [row(pamr=pamr, make=make, **how) for pamr in (False, True)
                for make, how in ((None, {}), *((slic, h) for h in PHOTO_SIDES),
                                  *((felzenszwalb, h) for h in PHOTO_SCALES))]
    # of every other one, and of those between
    matrices = torch.zeros(2, len(variants), len(own.names), len(own.names), dtype=torch.int64)
    groups = [own.words[name] for name in own.names]
    for i in range(len(own)):
        image, truth = own[i]
        scores = {pamr: segmenter.class_scores(image, groups, segmenter.changed(pamr=pamr)) for pamr in (False, True)}
        read = resize(image, fit_size(image.shape[1:], segmenter.settings.short, segmenter.settings.long))
        cut = {}
        for v, one in enumerate(variants):
            key = json.dumps(told({**one, 'pamr': False}))
            if one['make'] and key not in cut: cut[key] = one['make'](read, **one['how'])
            maps = region_means(scores[one['pamr']], cut[key]) if one['make'] else scores[one['pamr']]
            best = torch.cat([part.argmax(0) for _, part in strips(maps, truth.shape)])
            matrices[i % 2, v] += confusion(best, truth, len(own.names))
        if i % 20 == 0: print(i, round(time.process_time()), 's', flush=True)
    miou = [[mean_iou(m) for m in half] for half in matrices]
    rows = []
    for pamr in (False, True):
        for make in (None, slic, felzenszwalb):
            among = [v for v, one in enumerate(variants) if (one['pamr'], one['make']) == (pamr, make)]
            best = max(among, key=lambda v: miou[0][v])
            rows.append(dict(told(variants[best]), chosen_at=round(miou[0][best], 2), miou=round(miou[1][best], 2)))
            print(rows[-1], flush=True)
    tried = [dict(told(one), chosen_at=round(a, 2), miou=round(b, 2)) for one, a, b in zip(variants, *miou)]
    return dict(command='python tools/measure_segments.py --json nbs/results/segments_photo.json --images DIR --labels DIR --classes FILE', set=args.set, pictures=len(own), rows=rows, tried=tried)

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--json', type=Path, required=True)
    ap.add_argument('--scenes', type=int, default=300)
    for option in ('images', 'labels', 'classes'): ap.add_argument(f'--{option}', type=Path)
    ap.add_argument('--set', default='', help='what the photographs are, for the record')
    args = ap.parse_args()
    if args.images:
        out = dict(on_photographs(args), date=date.today().isoformat(), versions=versions())
        with writing(args.json) as aside: aside.write_text(json.dumps(out, indent=1) + '\n')
        return
    small = Small(args.scenes)
    cut = chosen(small, [row(make=slic, **how) for how in SIDES])
    grown = chosen(small, [row(make=felzenszwalb, **how) for how in SCALES])
    alike = chosen(small, [row(power) for power in POWERS])
    rows = [row(alike['power']*near, pamr, made['make'], **made['how']) for near in (0, 1)
            for made in (row(), cut, grown) for pamr in (False, True)]
    out = dict(command=f'python tools/measure_segments.py --json nbs/results/segments.json --scenes {args.scenes}',
               date=date.today().isoformat(),
               versions=versions(),
               rows=[measured(small, one) for one in rows])
    with writing(args.json) as aside: aside.write_text(json.dumps(out, indent=1) + '\n')

if __name__ == '__main__': main()
