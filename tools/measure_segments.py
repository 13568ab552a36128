"""What PAMR, superpixels and proxy affinity are worth to TCL's masks on the small world: rows of a json.

    python tools/measure_segments.py --json nbs/results/segments.json [--scenes 300] [--weights small FILE …]

The bundled grounder, or several (`tcl_train small seed=K out=runs/sK` makes one), on the four test sets. The sizes of
regions and the power of the affinity are those with the best mIoU of the first grounder on the validation scenes,
without PAMR; each row's background threshold is the one that is best on the validation scenes for that row. `spread` is
the standard deviation over 200 draws of as many scenes, with replacement, from the set.

    python tools/measure_segments.py --json nbs/results/segments_photo.json --photographs FOLDER

The same on photographs (FOLDER as for tools/measure_photographs.py), with the model `photo` and without a background.
Sizes and power are those whose mIoU, added up over the sets, is best on their val parts without PAMR; the rows count
the test parts. `gain_spread` is the standard deviation, over 200 draws of pictures with replacement, of the difference
to the first row. Of the val parts 30 pictures of each set are read, of the test parts 100, at even distances.
"""
import argparse, json, platform, time
from datetime import date
from functools import partial
from pathlib import Path
import torch, torch.nn.functional as F
import skimage
from tcl_nb import __version__
from tcl_nb.clip import load_clip
from tcl_nb.core import fit_size, normalise, resize, strips, writing
from tcl_nb.evaluation import class_labels, confusion, label, mean_iou
from tcl_nb.grounder import load_grounder
from tcl_nb.pamr import pamr
from measure_photographs import opened, short_name
from tcl_nb.regions import felzenszwalb, region_means, slic
from tcl_nb.segmentation import Segmenter, tcl_system
from tcl_nb.settings import SMALL_SETTINGS
from tcl_nb.smallworld import SmallWorld

SETS = 'seen', 'new_words', 'new_designs', 'stuff'
SIDES = [dict(side=s) for s in (3, 4, 6, 8, 11)]
SCALES = [dict(scale=float(s), least=m) for s in (20, 50, 100, 200) for m in (10, 20, 40)]
POWERS = 1., 2., 4., 8., 16.

class Small:
    "The small world's sets, read once: pictures, truth, and TCL's masks for a power of the affinity"
    def __init__(self, n, weights):
        self.world, self.clip, self.n = SmallWorld.load(), load_clip('small'), n
        self.cut, self.kept = {}, {}
        self.take(weights)
    def take(self, weights):
        "Go on with another grounder"
        self.grounder = load_grounder(weights, self.clip)
        self.kept = {k: v for k, v in self.kept.items() if isinstance(k, str)} # scenes stay, masks go
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

PHOTO_SIDES = [dict(side=s) for s in (8, 16, 32)]
PHOTO_SCALES = [dict(scale=50., least=100), dict(scale=200., least=100), dict(scale=200., least=400)]
PHOTO_POWERS = 1., 2., 4.
PHOTO_SETS = 'msrc', 'coco', 'camvid'
#: So many pictures of each set to choose on, and to report on
PHOTO_COUNTS = dict(val=30, test=100)

def read_once(clip):
    "Let a tower remember the trunk of the last picture: here every picture is read in several ways"
    trunk, last = clip.trunk, []
    def remembered(image):
        if not last or last[0].shape != image.shape or not last[0].equal(image): last[:] = image, trunk(image)
        return last[1]
    clip.trunk = remembered

def of_photograph(segmenter, image, truth, groups, rows):
    "A confusion matrix for each row [rows,c,c]"
    read = resize(image, fit_size(image.shape[1:], segmenter.settings.short, segmenter.settings.long))
    maps, regions, out = {}, {}, []
    for one in rows:
        how, cut = (one['power'], one['pamr']), (one['make'] and one['make'].__name__, json.dumps(one['how']))
        if how not in maps:
            maps[how] = segmenter.class_scores(image, groups, segmenter.changed(affinity=how[0], pamr=how[1]))
        if one['make'] and cut not in regions: regions[cut] = one['make'](read, **one['how'])
        scores = region_means(maps[how], regions[cut]) if one['make'] else maps[how]
        best = torch.cat([part.argmax(0) for _, part in strips(scores, truth.shape)])
        out.append(confusion(best, truth, len(groups)))
    return torch.stack(out).int()

def some(own, n):
    "Pictures at even distances in a set's list"
    return own.subset([k*len(own)//n for k in range(n)]) if len(own) > n else own

def of_set(segmenter, own, rows):
    "The same for every picture of a set [pictures,rows,c,c]"
    groups, out = [own.words[name] for name in own.names], []
    for i in range(len(own)):
        out.append(of_photograph(segmenter, *own[i], groups, rows))
        if i % 20 == 0: print(own.key, i, 'of', len(own), round(time.process_time()), 's', flush=True)
    return torch.stack(out)

def gain_spread(counts, start, draws=200):
    "Standard deviation of the gain in mIoU over draws of pictures; counts, start [pictures,c,c]"
    g = torch.Generator().manual_seed(0)
    picks = [torch.randint(len(counts), (len(counts),), generator=g) for _ in range(draws)]
    return torch.tensor([mean_iou(counts[p].sum(0)) - mean_iou(start[p].sum(0)) for p in picks]).std().item()

def on_photographs(folder):
    "Sizes and powers chosen on val pictures of all sets, rows on test pictures"
    segmenter = Segmenter.from_pretrained('photo', device='cpu')
    read_once(segmenter.clip)
    families = [[row()], [row(p) for p in PHOTO_POWERS], [row(make=slic, **how) for how in PHOTO_SIDES],
                [row(make=felzenszwalb, **how) for how in PHOTO_SCALES]]
    tried = [one for family in families for one in family]
    val = {key: of_set(segmenter, some(opened(folder, key, 'val'), PHOTO_COUNTS['val']), tried).sum(0)
           for key in PHOTO_SETS}
    reached = [{key: round(mean_iou(val[key][k]), 2) for key in PHOTO_SETS} for k in range(len(tried))]
    def best(family): return max(family, key=lambda one: sum(reached[tried.index(one)].values()))
    _, alike, cut, grown = map(best, families)
    rows = [row(alike['power']*near, refined, made['make'], **made['how']) for near in (0, 1)
            for made in (row(), cut, grown) for refined in (False, True)]
    out = []
    for key in PHOTO_SETS:
        counts = of_set(segmenter, some(opened(folder, key, 'test'), PHOTO_COUNTS['test']), rows)
        for k, one in enumerate(rows):
            out.append(dict(told(one), set=key, pictures=len(counts), miou=round(mean_iou(counts[:, k].sum(0)), 2),
                            gain_spread=round(gain_spread(counts[:, k], counts[:, 0]), 2)))
            print(out[-1], flush=True)
    return dict(command='python tools/measure_segments.py --json nbs/results/segments_photo.json --photographs FOLDER',
                val=[dict(told(one), **r) for one, r in zip(tried, reached)], rows=out)

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--json', type=Path, required=True)
    ap.add_argument('--scenes', type=int, default=300)
    ap.add_argument('--weights', nargs='+', default=['small'], help='grounders of the small world')
    ap.add_argument('--photographs', type=Path, metavar='FOLDER', help='sets as tools/measure_photographs.py has them')
    args = ap.parse_args()
    if args.photographs:
        out = dict(on_photographs(args.photographs), date=date.today().isoformat(), versions=versions())
        with writing(args.json) as aside: aside.write_text(json.dumps(out, indent=1) + '\n')
        return
    small = Small(args.scenes, args.weights[0])
    cut = chosen(small, [row(make=slic, **how) for how in SIDES])
    grown = chosen(small, [row(make=felzenszwalb, **how) for how in SCALES])
    alike = chosen(small, [row(power) for power in POWERS])
    rows = [row(alike['power']*near, pamr, made['make'], **made['how']) for near in (0, 1)
            for made in (row(), cut, grown) for pamr in (False, True)]
    found = []
    for weights in args.weights:
        small.take(weights)
        found += [dict(weights=short_name(weights), **measured(small, one)) for one in rows]
    out = dict(command=f'python tools/measure_segments.py --json nbs/results/segments.json --scenes {args.scenes} '
                       f"--weights {' '.join(args.weights)}",
               date=date.today().isoformat(), versions=versions(), threads=torch.get_num_threads(), rows=found)
    with writing(args.json) as aside: aside.write_text(json.dumps(out, indent=1) + '\n')

if __name__ == '__main__': main()
