"""Every system on every benchmark, under two protocols, each with PAMR and without: the comparison of nbs/results/comparison.ipynb.

    python tools/compare.py [--out runs/comparison] [--seeds 3] [--scenes 300] [--jobs 2]

On the small world: trains TCL by the recipe `small`, three seeds on each of three attentions of the last block, and evaluates
these and all systems of chapter 11 on its four test sets. What is finished is not done again.

    export TCL_NB_CLIP=openai TCL_NB_DATA=/data
    python tools/compare.py [--archive FOLDER]

With these two variables set, the same on the eight benchmarks: CLIP's weights (an open_clip tag or a file), and the data root
that `tcl_prepare` has checked; TCL's published weights, or those that --weights names. Nothing is trained.
ReCo takes part with an archive of pictures to retrieve from.

Writes a json of all results, without their matrices, to --json (nbs/results/comparison.json).

    python tools/compare.py --every [--scenes 100]

asks every system under every protocol, as each is stated: TCL's, SCLIP's, NACLIP's, ClearCLIP's, MaskCLIP's and GroupViT's; scaled down
for the small world, as published where the two variables are set. Nothing is trained: TCL is the grounder that --weights names (`small`, or
the published one). Writes nbs/results/protocols.json.

    python tools/compare.py --system maskclip naclip scclip resclip [--scenes 100] --json FILE

asks these systems alone, under the protocols of the first command; nothing is trained (`tcl`: the grounder that --weights names).
"""
import argparse, json, os, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tcl_nb.baselines import SYSTEMS
from tcl_nb.benchmarks import PUBLISHED
from tcl_nb.core import writing
from tcl_nb.scores import Result, tables

ATTENTIONS = 'identity', 'sclip', 'naclip'
SMALL = 'small_seen', 'small_new_words', 'small_new_designs', 'small_stuff'
#: Protocol → changes with PAMR, and without; PAMR at the photo's size has NACLIP's distances, scaled down for scenes of 64 pixels
PROTOCOLS = {'small-tcl': ([], ['pamr=false']),
             'small-sclip': (['pamr=true', 'refine_photo=true', 'dilations=[1,2]'], [])}
REAL = {'tcl': ([], ['pamr=false']), 'sclip': (['pamr=true', 'refine_photo=true', 'dilations=[8,16]'], [])}

#: What --every asks under, on the small world and on photographs: as the authors of each state it
EVERY = 'tcl', 'sclip', 'naclip', 'clearclip', 'maskclip', 'groupvit'

def call(module, function, *options, threads=1):
    "A command of the package in a process of its own"
    root = str(Path(__file__).resolve().parent.parent)
    env = {**os.environ, 'OMP_NUM_THREADS': str(threads),
           'PYTHONPATH': os.pathsep.join([root, os.environ.get('PYTHONPATH', '')])}
    done = subprocess.run([sys.executable, '-c', f'from tcl_nb.{module} import {function}; {function}()',
                           *map(str, options)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode: sys.exit(f'{function} {" ".join(map(str, options))}: {done.stderr.strip().splitlines()[-1:]}')
    print(f'{function} {" ".join(map(str, options[:6]))} …', flush=True)

def trained(out, seeds, steps, pool):
    "Grounders of every attention and seed, trained where they are missing"
    def one(job):
        attention, seed = job
        folder = out/'weights'/f'{attention}-{seed}'
        if not (folder/'grounder.safetensors').is_file():
            call('training', 'tcl_train', 'small', f'attention={attention}', f'seed={seed}', f'steps={steps}',
                 f'out={folder}', 'evaluate=null', 'picture_every=100000', 'save_every=50', 'device=cpu')
        return folder/'grounder.safetensors'
    return list(pool.map(one, [(a, s) for a in ATTENTIONS for s in range(seeds)]))

def rows_of(out):
    "What a json of results says: versions, protocols, and a row for each result in a folder's folders"
    found = [(p.parent.name, Result.load(p)) for p in sorted(out.glob('*/*.json'))
             if not p.name.startswith('threshold-')]
    rows = [dict(protocol=folder, system=r.system, benchmark=r.benchmark, hash=r.weights['hash'],
                 threshold=r.used['background'], pictures=len(r.pictures),
                 miou=round(r.miou, 3), accuracy=round(r.accuracy, 3)) for folder, r in found]
    first = found[0][1]
    return dict(versions=first.versions, date=max(r.date for _, r in found), threads=1,
                protocols={folder: r.protocol for folder, r in found}, rows=rows)

def written(out, path):
    "Print the tables and write the json"
    print(tables([Result.load(p) for p in sorted(out.glob('*/*.json')) if not p.name.startswith('threshold-')],
                 spread=True))
    with writing(path) as aside: aside.write_text(json.dumps(rows_of(out), indent=0) + '\n')

def every(args, out, common, real):
    "Every system under every protocol, with weights that are there"
    names = [n for n in SYSTEMS if not (real and n.startswith('reco') and not args.archive)]
    weights = args.weights or ['tcl' if real else 'small']
    for protocol in EVERY:
        protocol = protocol if real else f'small-{protocol}'
        more = ['--archive', args.archive] if args.archive else []
        call('evaluation', 'tcl_eval', '--protocol', protocol, '--system', *names, 'tcl', '--weights', *weights,
             *common, '--no-figures', '--out', out/protocol, *more)

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--out', default='runs/comparison')
    ap.add_argument('--seeds', type=int, default=3)
    ap.add_argument('--scenes', type=int, default=300)
    ap.add_argument('--steps', type=int, default=150)
    ap.add_argument('--jobs', type=int, default=2)
    ap.add_argument('--weights', nargs='+', help='of TCL')
    ap.add_argument('--archive')
    ap.add_argument('--every', action='store_true', help='every system under every protocol; nothing is trained')
    ap.add_argument('--system', nargs='+', metavar='NAME', help='these alone, of SYSTEMS in chapter 11, or tcl; nothing is trained')
    ap.add_argument('--json')
    args = ap.parse_args()
    out = Path(args.out)
    data = os.environ.get('TCL_NB_DATA')
    real = bool(data and os.environ.get('TCL_NB_CLIP'))
    common = ['--benchmark', *PUBLISHED, '--data', data, '--clip',
              os.environ['TCL_NB_CLIP']] if real else ['--benchmark', *SMALL, '--limit', args.scenes, '--device', 'cpu']
    if args.every:
        every(args, out/'every', common, real)
        return written(out/'every', args.json or 'nbs/results/protocols.json')
    with ThreadPoolExecutor(1 if real else args.jobs) as pool:
        bundled = ['tcl' if real else 'small']
        weights = args.weights or bundled if real or args.system else trained(out, args.seeds, args.steps, pool)
        together = real or args.system
        groups = [weights] if together else [weights[i:i+args.seeds] for i in range(0, len(weights), args.seeds)]
        jobs = []
        for protocol, variants in (REAL if real else PROTOCOLS).items():
            for i, change in enumerate(variants):
                folder = out/f"{protocol}{('-pamr', '')[i]}"
                if 'tcl' in (args.system or ['tcl']):
                    jobs += [(folder, protocol, change, ['tcl'], w) for w in groups]
                names = [n for n in SYSTEMS if not (real and n.startswith('reco') and not args.archive)
                         and n in (args.system or SYSTEMS)]
                jobs += [(folder, protocol, change, several, groups[0]) for several in
                         ([names] if args.system else [[n] for n in names])]
        def one(job):
            folder, protocol, change, systems, chosen = job
            more = ['--archive', args.archive] if args.archive and any(s.startswith('reco') for s in systems) else []
            call('evaluation', 'tcl_eval', '--system', *systems, '--protocol', protocol, '--weights', *chosen, *common,
                 '--no-figures', '--out', folder, *more, *(['--set', *change] if change else []))
        list(pool.map(one, jobs))
    written(out, args.json or 'nbs/results/comparison.json')

if __name__ == '__main__': main()
