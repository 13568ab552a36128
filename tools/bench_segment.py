"""Time and memory of the command tcl_segment, stage by stage, and against another version of the package.

    python tools/bench_segment.py [--before FOLDER] [--threads 2] [--turns 3] [--words 20]
                                  [--pictures scene.png photo.jpg]

Runs the command as a user does, each time in a process of its own, with the small world's model and with a ViT-B/16 of
the published size (seeded random weights, written to a temporary tcl.pth and a CLIP checkpoint: time and memory are
those of the real ones). The pictures: a scene of 1,000×700, a photograph of 1,000×700, and one of 100 megapixels (both
are scikit-image's astronaut, enlarged).

A line for each run says how many seconds went into imports, loading, words, the picture, and writing; 'all' is the
whole process from outside, which has what lies between too. 'first' is a run whose words nobody asked for before,
'again' one that finds them in the cache. With --before, a folder with another version of the package, that version runs
too, by turns with this one in one run; the ratios are those of the fastest turns, and labels must be the same. On a
machine that does other things, --clock cpu counts the processes' own time. Memory is a process's largest resident set.
Prints a table, and as the last line JSON. Exit code 1 when a run fails or a label differs.
"""
import argparse, json, os, subprocess, sys, tempfile, time
from pathlib import Path

LAST, DECODER, PROJECT = ('masker.image_encoder.backbone.transformer.resblocks.11.',
                          'masker.image_encoder.decoder.decoder.net.', 'masker.image_encoder.decoder.image_proj.')
STAGES = 'import', 'load', 'words', 'picture', 'write'
CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}
PICTURES = 'scene.png', 'photo.jpg', 'large.jpg'

def published_form(grounder):
    "A grounder's weights by the published names"
    def name(k):
        if k in ('w', 'b'): return f'masker.sim2mask.{k}'
        part, rest = k.split('.', 1)
        place = {'block': LAST, 'decoder': DECODER, 'project': PROJECT}[part]
        return place + (rest + '.gate' if rest.endswith('.gate') else rest)
    return {name(k): v for k, v in grounder.state_dict().items()}

def seeded(folder):
    "Files of a seeded ViT-B/16 and grounder → options of the command"
    import torch
    from tcl_nb.clip import load_clip
    from tcl_nb.grounder import Grounder
    clip = load_clip('ViT-B-16-quickgelu')
    torch.manual_seed(0)
    grounder = Grounder(clip, gate=.1)
    torch.save(clip.model.state_dict(), folder/'clip.pt')
    torch.save({'model': published_form(grounder)}, folder/'tcl.pth')
    return ['--model', str(folder/'tcl.pth'), '--clip', str(folder/'clip.pt')]

def child(clock, argv):
    "In a process of its own: the command, its stages timed"
    now, spent = CLOCKS[clock], dict.fromkeys(STAGES, 0.)
    start = now()
    from tcl_nb import segmentation
    from tcl_nb.clip import TextTable
    spent['import'] = now() - start
    inside = [] # stages that are under way: only the innermost counts
    def timed(stage, function):
        def call(*args, **kwargs):
            start, before = now(), dict(spent)
            inside.append(stage)
            try: return function(*args, **kwargs)
            finally:
                inside.pop()
                nested = sum(spent[s] - before[s] for s in STAGES)
                spent[stage] += now() - start - nested
        return call
    segmenter, segmentation_class = segmentation.Segmenter, segmentation.Segmentation
    segmenter.from_pretrained = timed('load', segmenter.from_pretrained)
    segmenter.note = timed('load', segmenter.note)
    segmenter.segment = timed('picture', segmenter.segment)
    segmentation_class.save = timed('write', segmentation_class.save)
    TextTable.rows = timed('words', TextTable.rows)
    try: segmentation.tcl_segment(argv)
    finally: print(json.dumps(spent), file=sys.stderr)

def measure(version, argv, args, cache):
    "Seconds of each stage and of all, and peak GB, of a run of the command in a process of its own"
    env = {**os.environ, **dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS'), str(args.threads)),
           'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(version), 'TCL_NB_CACHE': str(cache)}
    start = time.perf_counter()
    run = subprocess.Popen([sys.executable, __file__, '--child', args.clock, *argv], env=env, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, text=True)
    said = run.stderr.read() # until it ends
    _, status, usage = os.wait4(run.pid, 0)
    wall = time.perf_counter() - start
    if status: sys.exit(f'tcl_segment ended with {os.waitstatus_to_exitcode(status)}:\n{said}')
    spent = json.loads(said.splitlines()[-1])
    spent['all'] = wall if args.clock == 'wall' else usage.ru_utime + usage.ru_stime
    return {**spent, 'peak_gb': usage.ru_maxrss*(1 if sys.platform == 'darwin' else 1024)/1e9}

def make_pictures(folder):
    from PIL import Image
    from skimage import data
    from tcl_nb.smallworld import SmallWorld
    world = SmallWorld.load()
    scene = Image.fromarray(world.scenes('seen', 1).image[0].permute(1, 2, 0).numpy())
    scene.resize((1000, 700), Image.BICUBIC).save(folder/'scene.png')
    photo = Image.fromarray(data.astronaut())
    photo.resize((1000, 700), Image.BICUBIC).save(folder/'photo.jpg', quality=90)
    photo.resize((12_000, 8_334), Image.BILINEAR).save(folder/'large.jpg', quality=85)
    return world.split('seen').names

def compare(folder, options, picture, words, args):
    "Runs of all forms by turns → {form: its fastest turn, stage by stage}"
    here = Path(__file__).resolve().parent.parent
    forms = {'before': (args.before, [])} if args.before else {}
    forms |= {'first': (here, []), 'again': (here, [])}
    turns, labels = [], {}
    for k in range(args.turns):
        turn = {}
        for form, (version, more) in forms.items():
            out = folder/'out'/form
            # of 'first' is empty, and 'again' comes after it
            cache = folder/f'cache {k} {picture} {Path(options[1]).name}'
            turn[form] = measure(version, [str(folder/picture), *words, '--out', str(out), '--overwrite', *options,
                                           *more], args, folder/'no cache' if form == 'before' else cache)
            labels[form] = (out/f'{Path(picture).stem}_labels.png')
        turns.append(turn)
    return {form: min((turn[form] for turn in turns), key=lambda t: t['all'])
            for form in forms}, turns, same_labels(labels)

def same_labels(files):
    import numpy as np
    from PIL import Image
    every = [np.array(Image.open(f)) for f in files.values()]
    return max(int((a != every[0]).sum()) for a in every)

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--before', help='folder with another version of the package, such as a git worktree')
    ap.add_argument('--threads', type=int, default=2)
    ap.add_argument('--turns', type=int, default=3)
    ap.add_argument('--words', type=int, default=20)
    ap.add_argument('--pictures', nargs='+', default=['scene.png', 'large.jpg'], choices=PICTURES)
    ap.add_argument('--models', nargs='+', default=['small', 'large'], choices=['small', 'large'])
    ap.add_argument('--clock', choices=CLOCKS, default='wall', help="'cpu' counts the processes' own time only")
    args = ap.parse_args()
    import torch
    with tempfile.TemporaryDirectory() as f:
        folder = Path(f)
        words = make_pictures(folder)[:args.words]
        models = {k: ['--model', 'small'] if k == 'small' else seeded(folder) for k in args.models}
        print(f"{'model':<7}{'picture':<11}{'run':<8}" + ''.join(f'{s:>9}'
            for s in (*STAGES, 'all')) + f"{'of before':>11}{'peak GB':>9}")
        rows, different = [], 0
        for model, options in models.items():
            for picture in args.pictures:
                fastest, turns, off = compare(folder, options, picture, words, args)
                different += off
                for form, t in fastest.items():
                    share = t['all']/fastest['before']['all'] if args.before else None
                    print(f'{model:<7}{picture:<11}{form:<8}' + ''.join(f'{t[s]:>9.2f}'
                        for s in (*STAGES, 'all')) + (f'{share:>11.2f}' if share else ' '*11) + f"{t['peak_gb']:>9.2f}",
                          flush=True)
                    rows.append(dict(model=model, file=picture, run=form, **{k: round(v, 3) for k, v in t.items()},
                                     **({'share': round(share, 3)} if share else {}),
                                     all_turns=[round(turn[form]['all'], 2) for turn in turns]))
                if args.before: rows[-1]['labels_that_differ'] = off
    print(json.dumps(dict(threads=args.threads, clock=args.clock, turns=args.turns, words=args.words,
                          torch=torch.__version__, rows=rows)))
    if different: sys.exit(f'{different} labels differ')

if __name__ == '__main__':
    if sys.argv[1:2] == ['--child']: child(sys.argv[2], sys.argv[3:])
    else: main()
