"""Every system on every benchmark, under two protocols, each with PAMR and without: the comparison of
nbs/results/comparison.ipynb.

    python tools/compare.py [--out FOLDER] [--seeds 3] [--scenes 300] [--jobs 2]

On the small world: trains TCL by the recipe `small`, three seeds on each of three attentions of the last block, and
evaluates these and all systems of chapter 11 on its four test sets. What is finished is not done again.

    export TCL_NB_CLIP=openai TCL_NB_DATA=/data
    python tools/compare.py [--archive FOLDER]

With these two variables set, the same on the eight benchmarks: CLIP's weights (an open_clip tag or a file), and the
data root that `tcl_prepare` has checked; TCL's published weights, or those that --weights names. Nothing is trained.
ReCo takes part with an archive of pictures to retrieve from.

Writes a json of all results, without their matrices, to --json (nbs/results/comparison.json).

    python tools/compare.py --every [--scenes 100]

asks every system under every protocol: TCL's, SCLIP's, NACLIP's, ClearCLIP's, MaskCLIP's, GroupViT's, SC-CLIP's and
ResCLIP's, scaled down for the small world, where the last two then say what SCLIP's says and are left out. Nothing is
trained: TCL is the grounder that --weights names (`small`). Writes nbs/results/protocols.json.
The same of real weights, with the protocols as published, on the eight benchmarks or on those that --benchmark names:

    python tools/compare.py --every --clip openai --data /data --json FILE [--groupvit] [--archive FOLDER]

and of other towers and of pictures of one's own; a tower that is no CLIP gets its own colours and templates, all else
as published:

    python tools/compare.py --every --clip photo --images DIR --labels DIR --classes FILE [--limit 20] --json FILE

There the loop goes picture by picture, with what systems have in common computed once (compare_pictures.py). --limit
takes pictures evenly spaced over the set, --only FILE those that a file lists, and --leave-out NAME makes a class void.

What is finished is not done again: a result in --out is known by everything that it depends on.

    python tools/compare.py --system maskclip naclip scclip resclip [--scenes 100] --json FILE

asks these systems alone, under the protocols of the first command; nothing is trained (`tcl`: the grounder that
--weights names).
"""
import argparse, json, os, shlex, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from compare_pictures import OWN_FIELDS, compared, table
from tcl_nb.baselines import SYSTEMS
from tcl_nb.benchmarks import PUBLISHED
from tcl_nb.core import TclError, writing
from tcl_nb.grounder import tower_for
from tcl_nb.protocols import PROTOCOLS as STATED, usual_protocol
from tcl_nb.scores import Result, tables

ATTENTIONS = 'identity', 'sclip', 'naclip'
SMALL = 'small_seen', 'small_new_words', 'small_new_designs', 'small_stuff'
#: Protocol → changes with PAMR, and without; PAMR at the photo's
#: size has NACLIP's distances, scaled down for scenes of 64 pixels
PROTOCOLS = {'small-tcl': ([], ['pamr=false']),
             'small-sclip': (['pamr=true', 'refine_photo=true', 'dilations=[1,2]'], [])}
REAL = {'tcl': ([], ['pamr=false']), 'sclip': (['pamr=true', 'refine_photo=true', 'dilations=[8,16]'], [])}

#: What --every asks under: as the authors of each state it
EVERY = 'tcl', 'sclip', 'naclip', 'clearclip', 'maskclip', 'groupvit', 'scclip', 'resclip'

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
            call('runs', 'tcl_train', 'small', f'attention={attention}', f'seed={seed}', f'steps={steps}',
                 f'out={folder}', 'evaluate=null', 'picture_every=100000', 'save_every=50', 'device=cpu')
        return folder/'grounder.safetensors'
    return list(pool.map(one, [(a, s) for a in ATTENTIONS for s in range(seeds)]))

def whole_command(args):
    "The command that was given, with what it took from the environment and the folder that it worked in"
    given = {part.partition('=')[0] for part in sys.argv}
    unsaid = [(f'--{name}', getattr(args, name)) for name in ('clip', 'data', 'out')]
    more = [part for option, value in unsaid if value and option not in given for part in (option, value)]
    return shlex.join(['python', *sys.argv, *more])

def rows_of(args, out):
    "What a json of results says: versions, protocols, and a row for each result in a folder's folders"
    found = [(p.parent.name, Result.load(p)) for p in sorted(out.glob('*/*.json'))
             if not p.name.startswith('threshold-')]
    rows = [dict(protocol=folder, system=r.system, benchmark=r.benchmark, hash=r.weights['hash'],
                 threshold=r.used['background'], pictures=len(r.pictures),
                 miou=round(r.miou, 3), accuracy=round(r.accuracy, 3)) for folder, r in found]
    first = found[0][1]
    return dict(command=whole_command(args), versions=first.versions,
                date=max(r.date for _, r in found), threads=1,
                protocols={folder: r.protocol for folder, r in found}, rows=rows)

def written(args, out, path):
    "Print the tables and write the json"
    print(tables([Result.load(p) for p in sorted(out.glob('*/*.json')) if not p.name.startswith('threshold-')],
                 spread=True))
    with writing(path) as aside: aside.write_text(json.dumps(rows_of(args, out), indent=0) + '\n')

def asked(args):
    "(weights of TCL, protocol that the tower is used with, options of `tcl_eval` that say what is labelled)"
    if not args.clip:
        common = ['--benchmark', *SMALL, '--limit', args.scenes, '--device', 'cpu']
        return args.weights or ['small'], 'small-tcl', common
    weights = args.weights or ['photo' if args.clip == 'photo' else 'tcl']
    tower = [] if args.clip in (None, 'photo') else ['--clip', args.clip] # a grounder's file names its tower
    usual = usual_protocol(tower_for(weights[0], *tower[1:]))
    data = ['--benchmark', *(args.benchmark or PUBLISHED), '--data', args.data] if args.data else []
    limit = ['--limit', args.limit] if args.limit else []
    return weights, usual, [*tower, *data, *limit]

def protocol_options(name, usual):
    "(a name for the results, options of `tcl_eval` that choose a protocol) for a tower that is used with another"
    if usual == 'tcl': return name, ['--protocol', name]
    if usual == 'small-tcl': return f'small-{name}', ['--protocol', f'small-{name}']
    own = STATED[usual].facts()
    changes = [f'{field}={json.dumps(own[field])}' for field in OWN_FIELDS]
    return f'{usual}-{name}', ['--protocol', name, '--set', f'name={usual}-{name}', *changes]

def different(usual):
    "The names in EVERY; on the small world without those that say there what an earlier one says"
    if usual != 'small-tcl': return EVERY
    said = {}
    for name in EVERY:
        stated = STATED[f'small-{name}'].facts()
        said.setdefault(str({k: v for k, v in stated.items() if k not in ('name', 'background')}), name)
    return tuple(said.values()) # a threshold is found anew for each system

def every(args, out):
    "Every system under every protocol, with weights that are there"
    weights, usual, common = asked(args)
    names = [n for n in SYSTEMS if usual == 'small-tcl' or args.archive or not n.startswith('reco')]
    more = ['--archive', args.archive] if args.archive else []
    for name in different(usual):
        protocol, chosen = protocol_options(name, usual)
        call('evaluate', 'tcl_eval', '--system', *names, 'tcl', *['groupvit']*args.groupvit, *chosen, '--weights',
             *weights, *common, '--no-figures', '--out', out/protocol, *more)

def on_pictures(args, out):
    "Every system under every protocol, on pictures of one's own"
    facts = dict(command=whole_command(args), **compared(args, EVERY, out))
    print(table(facts['rows']))
    text = json.dumps(facts).replace('{"protocol"', '\n{"protocol"') + '\n'
    with writing(args.json) as aside: aside.write_text(text)

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--out',
                    help='folder of what is finished (default: runs/comparison, or runs/protocols with --every)')
    ap.add_argument('--seeds', type=int, default=3)
    ap.add_argument('--scenes', type=int, default=300)
    ap.add_argument('--steps', type=int, default=150)
    ap.add_argument('--jobs', type=int, default=2)
    ap.add_argument('--weights', nargs='+', help='of TCL')
    ap.add_argument('--archive')
    ap.add_argument('--every', action='store_true', help='every system under every protocol; nothing is trained')
    ap.add_argument('--clip', default=os.environ.get('TCL_NB_CLIP'),
                    help='the tower: an open_clip tag, a file, or photo')
    ap.add_argument('--data', default=os.environ.get('TCL_NB_DATA'), help='the data root of the benchmarks')
    ap.add_argument('--benchmark', nargs='+', help='with --every: these alone')
    for option in ('--images', '--labels', '--classes'):
        ap.add_argument(option, help='with --every: pictures of your own, as for tcl_eval')
    ap.add_argument('--only', metavar='FILE',
                    help='with --images: names of the pictures to take, without endings, a line each')
    ap.add_argument('--leave-out', nargs='+', default=[], metavar='NAME',
                    help='with --images: classes whose pixels do not count')
    ap.add_argument('--check', type=int, default=0, metavar='N',
                    help='with --images: ask N cells again as tcl_eval does, and fail unless they are equal')
    ap.add_argument('--limit', type=int,
                    help='with --every: only the first pictures of each set; with --images so many, evenly spaced')
    ap.add_argument('--groupvit', action='store_true',
                    help='with --every: GroupViT too, from the hub, under its own protocol')
    ap.add_argument('--system', nargs='+', metavar='NAME',
                    help='these alone, of SYSTEMS in chapter 11, or tcl; nothing is trained')
    ap.add_argument('--json')
    args = ap.parse_args()
    args.out = args.out or ('runs/protocols' if args.every else 'runs/comparison') # all that lies there is in the json
    out = Path(args.out)
    if args.images:
        if not (args.every and args.json): raise TclError('--images goes with --every and --json FILE')
        return on_pictures(args, out)
    if args.every:
        every(args, out)
        return written(args, out, args.json or 'nbs/results/protocols.json')
    real = bool(args.data and args.clip)
    common = ['--benchmark', *PUBLISHED, '--data', args.data, '--clip', args.clip] if real else [
        '--benchmark', *SMALL, '--limit', args.scenes, '--device', 'cpu']
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
            call('evaluate', 'tcl_eval', '--system', *systems, '--protocol', protocol, '--weights', *chosen, *common,
                 '--no-figures', '--out', folder, *more, *(['--set', *change] if change else []))
        list(pool.map(one, jobs))
    written(args, out, args.json or 'nbs/results/comparison.json')

if __name__ == '__main__':
    try: main()
    except (TclError, OSError) as e: raise SystemExit(f'compare: {e}')
