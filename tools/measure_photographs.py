"""The model `photo` on photographs with masks drawn by people: nbs/results/photographs.json.

    python tools/measure_photographs.py FOLDER [--part val|test] [--model photo photo-minilm] [--set short=320] [--json FILE]

FOLDER holds sets as folders: `msrc` and `coco` with images/, labels/ (PNGs, 255 is void), classes.txt (line k names label k) and
lists val.txt and test.txt (a picture's name without its ending a line), and `CamVid` as the benchmark camvid wants it. MSRC-21 v2
(591 pictures, Microsoft Research) is measured without its class horse, which three pictures have; coco are 200 pictures of COCO 2017.
Settings are chosen with --part val, and reported with --part test. No class is background, and every picture is read whole.
"""
import argparse, json
from dataclasses import replace
from datetime import date
from pathlib import Path
import torch
from tcl_nb.benchmarks import benchmark, folder_benchmark, label_table
from tcl_nb.core import TclError, writing
from tcl_nb.evaluation import PROTOCOLS, Evaluation, _changes
from tcl_nb.grounder import load_grounder, tower_for

def without(classes, name):
    "A benchmark without one of its classes, whose pixels become void"
    names = [n for n in classes.names if n != name]
    table = label_table({i: names.index(n) if n != name else 255 for i, n in enumerate(classes.names)} | {255: 255})
    return replace(classes, names=tuple(names), words={n: classes.words[n] for n in names}, table=table)

def opened(folder, key, part):
    "One of the three sets"
    if key == 'camvid':
        if part == 'test': return benchmark('camvid', folder)
        names = benchmark('camvid', folder).names
        own = folder_benchmark(folder/'CamVid'/part, folder/'CamVid'/f'{part}annot', names, ignore=(11, 255))
        return replace(own, key='camvid')
    root = folder/key
    own = folder_benchmark(root/'images', root/'labels', root/'classes.txt')
    listed = (root/f'{part}.txt').read_text().split()
    own = replace(own.subset([own.keys.index(k) for k in listed]), key=key)
    return without(own, 'horse') if key == 'msrc' else own

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('folder', type=Path)
    ap.add_argument('--part', default='test', choices=('val', 'test'))
    ap.add_argument('--sets', nargs='+', default=['msrc', 'coco', 'camvid'])
    ap.add_argument('--model', nargs='+', default=['photo', 'photo-minilm'])
    ap.add_argument('--system', default='tcl')
    ap.add_argument('--set', nargs='+', default=[], metavar='FIELD=VALUE')
    ap.add_argument('--clip', help='tower of a grounder given as a file')
    ap.add_argument('--pamr', nargs='+', default=['false', 'true'])
    ap.add_argument('--limit', type=int)
    ap.add_argument('--json')
    args = ap.parse_args()
    rows = []
    for model in args.model:
        clip = tower_for(args.clip or model)
        grounder = load_grounder(model, clip) if args.system == 'tcl' else None
        for pamr in args.pamr:
            protocol = PROTOCOLS['photo'].changed(**{'pamr': pamr == 'true', **_changes(args.set)})
            for key in args.sets:
                classes = opened(args.folder, key, args.part)
                if args.limit: classes = classes.subset(range(min(args.limit, len(classes))))
                result = Evaluation(args.system, clip, classes, protocol, grounder).run(progress=False)
                row = dict(model=model, system=args.system, set=key, part=args.part, pictures=len(classes), classes=len(classes.names), pamr=pamr == 'true',
                           miou=round(result.miou, 2), accuracy=round(result.accuracy, 2), weights=result.weights['hash'], protocol=result.used)
                print({k: row[k] for k in ('model', 'system', 'set', 'part', 'pamr', 'miou', 'accuracy')}, flush=True)
                rows.append(row)
    if args.json:
        told = dict(command='python tools/measure_photographs.py FOLDER', date=date.today().isoformat(), threads=torch.get_num_threads(), versions=result.versions, rows=rows)
        with writing(args.json) as aside: aside.write_text(json.dumps(told, indent=0) + '\n')

if __name__ == '__main__':
    try: main()
    except (TclError, OSError) as e: raise SystemExit(f'measure_photographs: {e}')
