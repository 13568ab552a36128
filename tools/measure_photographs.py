"""Systems on photographs with masks drawn by people; rows are added to a json, and what stands there is not measured
again.

    python tools/measure_photographs.py FOLDER --json FILE [--clip TOWER] [--system maskclip sclip …]
                                        [--weights GROUNDER …]

FOLDER holds sets as folders: `msrc` and `coco` with images/, labels/ (PNGs, 255 is void), classes.txt (line k names
label k) and lists val.txt and test.txt (a picture's name without its ending a line), and `CamVid` as the benchmark
camvid wants it. MSRC-21 v2 (591 pictures, Microsoft Research) is measured without its class horse, which three pictures
have; coco are 200 pictures of COCO 2017; coco_things are the same pictures with COCO's 80 things as names and all else
as background, at the threshold that is best on val. Settings are chosen with --part val, and reported with --part test.
Every picture is read whole.

    python tools/measure_photographs.py FOLDER --ceiling --json FILE

asks what PAMR alone mends: true masks of msrc averaged over the cells of a grid, enlarged, and refined.

    python tools/measure_photographs.py FOLDER --captions flickr/train.csv --json FILE

counts in how many captions of a table each class is named.

    python tools/measure_photographs.py FOLDER --separation --json FILE [--clip …] [--system …] [--weights …]

asks of each word alone how well its similarity tells the pixels that show it from the others of the same picture: the
area under the ROC curve, 50 for guessing, averaged over the pictures that show it. Other words don't matter to it, so
it can be asked of rare ones.
"""
import argparse, csv, json, re
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
import torch, torch.nn.functional as F
from compare_pictures import without
from sklearn.metrics import roc_auc_score
from tcl_nb.baselines import reco_system
from tcl_nb.benchmarks import benchmark, folder_benchmark, label_table, name_lists
from tcl_nb.core import TclError, fit_size, normalise, resize, writing
from tcl_nb.evaluation import confusion, mean_iou
from tcl_nb.evaluate import _changes
from tcl_nb.labeller import Labeller
from tcl_nb.protocols import PROTOCOLS
from tcl_nb.scores import Evaluation, load_system
from tcl_nb.tally import threshold_curve
from tcl_nb.clip import load_clip
from tcl_nb.grounder import load_grounder
from tcl_nb.pamr import pamr
from tcl_nb.segment import find_pictures

def things(classes):
    "COCO's things as names, and the rest as background"
    known = [name.replace('-', ' ') for name in name_lists()['tcl']['coco_object']][1:]
    mine = [name for name in classes.names if name in known]
    table = {i: mine.index(name) + 1 if name in mine else 0 for i, name in enumerate(classes.names)}
    words = {name: classes.words[name] for name in mine}
    return replace(classes, key='coco_things', names=tuple(mine), background=True, words=words,
                   table=label_table(table))

def opened(folder, key, part):
    "One of the sets"
    if key == 'camvid':
        if part == 'test': return benchmark('camvid', folder)
        names = benchmark('camvid', folder).names
        own = folder_benchmark(folder/'CamVid'/part, folder/'CamVid'/f'{part}annot', names, ignore=(11, 255))
        return replace(own, key='camvid')
    root = folder/key.removesuffix('_things')
    own = folder_benchmark(root/'images', root/'labels', root/'classes.txt')
    listed = (root/f'{part}.txt').read_text().split()
    own = replace(own.subset([own.keys.index(k) for k in listed]), key=key)
    if key == 'coco_things': return things(own)
    return without(own, 'horse') if key == 'msrc' else own

class Sheet:
    "Rows of a json file, written after each"
    def __init__(self, path, command):
        self.path, self.command = Path(path), command
        self.rows = json.loads(self.path.read_text())['rows'] if self.path.is_file() else []

    def has(self, about): return any(row['about'] == about for row in self.rows)
    def add(self, row):
        print({k: v for k, v in row.items() if k not in ('classes', 'about', 'commands')}, flush=True)
        self.rows.append(row)
        told = dict(command=self.command, rows=self.rows)
        text = json.dumps(told).replace('{"system"', '\n{"system"') + '\n'
        with writing(self.path) as aside: aside.write_text(text)

def threshold(evaluation, folder):
    "The background threshold that is best on the set's val part"
    held = opened(folder, evaluation.classes.key, 'val')
    used = evaluation.used
    system = load_system(evaluation.system, evaluation.clip, evaluation.grounder, used.blend, used.affinity)
    labeller = Labeller(system, evaluation.clip, used, held, prune=False)
    curve = threshold_curve(labeller, held)
    return max(curve, key=curve.get)

def short_name(path):
    "A name, or the end of a path"
    return '/'.join(Path(path).parts[-2:]) if path else None

def measured(evaluation, sheet, **about):
    "A row, unless it is there"
    if sheet.has(evaluation.about): return
    result = evaluation.run(progress=False)
    changed = {k: v for k, v in result.used.items() if v != PROTOCOLS['photo'].facts().get(k) and k != 'name'}
    classes = {name: round(value, 1) for name, value in result.classes.items() if value == value}
    sheet.add(dict(**about, pictures=len(result.pictures), miou=round(result.miou, 2),
                   accuracy=round(result.accuracy, 2), settings=changed,
                   clip=short_name(result.weights['clip']), weights=result.weights['hash'], date=result.date,
                   threads=torch.get_num_threads(),
                   versions=result.versions, about=evaluation.about, classes=classes))

def ceiling(args, sheet):
    "True masks averaged over a grid's cells and enlarged to the mask's size, without and with PAMR"
    classes = opened(args.folder, 'msrc', args.part)
    for cells, side in ((16, 4), (16, 16), (4, 4)):
        matrices = [torch.zeros(22, 22, dtype=torch.int64) for _ in range(2)]
        for image, truth in (classes[i] for i in range(len(classes))):
            h, w = (args.short*s//min(image.shape[1:])//16*16 for s in image.shape[1:])
            read = normalise(resize(image, (h, w)), (.5, .5, .5), (.5, .5, .5))[None]
            masks = F.one_hot(truth.where(truth < 22, 22), 23)[..., :22].permute(2, 0, 1)[None].float()
            grid = F.adaptive_avg_pool2d(masks, (h//cells, w//cells))
            coarse = F.interpolate(grid, size=(h//side, w//side), mode='bilinear', align_corners=False)
            for matrix, maps in zip(matrices, (coarse, pamr(read, coarse))):
                best = F.interpolate(maps, size=truth.shape, mode='bilinear', align_corners=False)[0].argmax(0)
                matrix += confusion(best, truth, 22)
        for matrix, refined in zip(matrices, (False, True)):
            sheet.add(dict(system='truth', set='msrc', part=args.part, pamr=refined, cells=cells, mask=side,
                           short=args.short, pictures=len(classes),
                           miou=round(mean_iou(matrix), 2), date=date.today().isoformat(),
                           about=f'truth {cells} {side} {args.short} {args.part} {refined}'))

def naming(args, sheet):
    "For each set, in how many captions its classes are named, in the singular or with an s"
    with open(args.captions, newline='', encoding='utf-8') as file:
        captions = [' '.join(row.values()).lower() for row in csv.DictReader(file)]
    for key in args.sets:
        counts = {}
        for name, words in opened(args.folder, key, args.part).words.items():
            pattern = re.compile('|'.join(rf"\b{re.escape(word.lower())}s?\b" for word in words))
            counts[name] = sum(bool(pattern.search(caption)) for caption in captions)
        sheet.add(dict(system='captions', set=key, part=args.part, captions=len(captions),
                       date=date.today().isoformat(),
                       about=f'captions {key} {args.part} {len(captions)}', classes=counts))

@torch.no_grad()
def separation(args, sheet, name, weights, system, clip, grounder):
    "For each set and class the mean area under the ROC curve of its similarity, in percent, and of how many pictures"
    for key in args.sets:
        protocol = PROTOCOLS['photo'].changed(pamr=False, **_changes(args.set))
        evaluation = Evaluation(system, clip, opened(args.folder, key, args.part), protocol, grounder, name)
        about = f'separation {evaluation.about}'
        if sheet.has(about): continue
        classes, used = evaluation.classes, evaluation.used
        dense = load_system(name, clip, grounder, used.blend)
        text = clip.class_embedding(list(classes.names), used.prompts)
        found = {k: [] for k in classes.names}
        for image, truth in (classes[i] for i in range(len(classes))):
            size = [side//clip.patch*clip.patch for side in fit_size(image.shape[1:], used.short, used.long)]
            read = normalise(resize(image, size), used.mean, used.std)[None]
            maps = F.interpolate(dense(read, text), size=truth.shape, mode='bilinear', align_corners=False)[0]
            known = truth != 255
            for i in truth[known].unique().tolist():
                there = truth[known] == i
                if not there.all(): found[classes.names[i]].append(100*roc_auc_score(there, maps[i][known]))
        sheet.add(dict(system='separation', of=name, grounder=short_name(weights), set=key, part=args.part,
                       pictures=len(classes),
                       clip=short_name(args.clip), settings=dict(short=used.short), date=date.today().isoformat(),
                       threads=torch.get_num_threads(),
                       versions=evaluation.versions, about=about,
                       shown={k: len(v) for k, v in found.items() if v},
                       classes={k: round(sum(v)/len(v), 2) for k, v in found.items() if v}))

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('folder', type=Path)
    ap.add_argument('--json', required=True)
    ap.add_argument('--part', default='test', choices=('val', 'test'))
    ap.add_argument('--sets', nargs='+', default=['msrc', 'coco', 'camvid'],
                    choices=('msrc', 'coco', 'camvid', 'coco_things'))
    ap.add_argument('--clip', default='photo', help='a tower: photo, photo-minilm, or a file')
    ap.add_argument('--system', nargs='+', default=['tcl'])
    ap.add_argument('--weights', nargs='+', default=['photo'], help='grounders, for the system tcl')
    ap.add_argument('--archive', help='folder of pictures, for reco')
    ap.add_argument('--set', nargs='+', default=[], metavar='FIELD=VALUE', help='change fields of the protocol photo')
    ap.add_argument('--pamr', nargs='+', default=['false', 'true'])
    ap.add_argument('--limit', type=int, help='so many pictures of each set')
    ap.add_argument('--ceiling', action='store_true', help='what PAMR mends of coarse true masks')
    ap.add_argument('--captions', help='a csv of captions, to count class names in')
    ap.add_argument('--separation', action='store_true',
                    help='how well each word alone tells its pixels from the others')
    ap.add_argument('--short', type=int, default=320, help='for --ceiling')
    args = ap.parse_args()
    sheet = Sheet(args.json, 'python tools/measure_photographs.py FOLDER …; see the results chapter')
    if args.ceiling: return ceiling(args, sheet)
    if args.captions: return naming(args, sheet)
    clip = load_clip(args.clip)
    jobs = [(name, w) for name in args.system for w in (args.weights if name == 'tcl' else [None])]
    for name, weights in jobs:
        grounder = load_grounder(weights, clip) if weights else None
        system = name
        if name.startswith('reco'):
            built = reco_system(clip, list(find_pictures(args.archive)), language=name == 'reco')
            system = lambda clip: built
        if args.separation:
            separation(args, sheet, name, weights, system, clip, grounder)
            continue
        for key in args.sets:
            classes = opened(args.folder, key, args.part)
            if args.limit: classes = classes.subset(range(min(args.limit, len(classes))))
            for refined in args.pamr:
                protocol = PROTOCOLS['photo'].changed(**{'pamr': refined == 'true', **_changes(args.set)})
                evaluation = Evaluation(system, clip, classes, protocol, grounder, name)
                if classes.background:
                    found = threshold(evaluation, args.folder)
                    evaluation = Evaluation(system, clip, classes, protocol.at(found), grounder, name)
                measured(evaluation, sheet, system=name, grounder=short_name(weights), set=key, part=args.part,
                         pamr=refined == 'true')

if __name__ == '__main__':
    try: main()
    except (TclError, OSError) as e: raise SystemExit(f'measure_photographs: {e}')
