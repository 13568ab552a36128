"""Time of tcl_segment over a folder of photographs, against another version of the package.

    python tools/bench_folder.py --before FOLDER [--pictures 50] [--words 20] [--turns 1] [--model photo]

Photographs of 1 megapixel, made from scikit-image's by seeded crops, mirrored or not, enlarged to 1,000×1,000 and
written as JPEG. Each run is the command in a process of its own on one thread, with a cache that is empty, and writes
overlays and labels. The two versions run by turns. A line tells the seconds by the clock on the wall, which other work
on the machine prolongs, and those that the processor spent. Prints a table, and as the last line JSON. Exit code 1
when a run fails or a label differs.
"""
import argparse, json, os, platform, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np, torch
from PIL import Image
from skimage import data

SOURCES = 'astronaut', 'chelsea', 'coffee', 'rocket'
WORDS = ('person face hair helmet flag rocket cat cup spoon table sky tree grass tower cloth wall water road building '
         'flower dog car horse bird chair').split()

def photographs(folder, n):
    "Write n photographs of 1 megapixel"
    random = np.random.default_rng(0)
    for k in range(n):
        pixels = getattr(data, SOURCES[k % len(SOURCES)])()[..., :3]
        side = int(min(pixels.shape[:2])*random.uniform(.7, 1))
        top, left = (int(random.integers(whole - side + 1)) for whole in pixels.shape[:2])
        part = pixels[top:top+side, left:left+side, ::random.choice((-1, 1))]
        Image.fromarray(part).resize((1000, 1000), Image.BICUBIC).save(folder/f'{k:02}.jpg', quality=90)

def timed(version, photos, out, args):
    "(seconds on the wall, of the processor) of the command"
    threads = dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS'), '1')
    env = {**os.environ, **threads, 'OMP_WAIT_POLICY': 'passive', 'CUDA_VISIBLE_DEVICES': '',
           'PYTHONPATH': str(version), 'TCL_NB_CACHE': str(out/'cache')}
    # where every version has the command
    program = 'import sys; from tcl_nb import segmentation; segmentation.tcl_segment(sys.argv[1:])'
    asked = [str(photos), *WORDS[:args.words], '--model', args.model, '--out', str(out/'masks'), '--overwrite']
    start = time.perf_counter()
    run = subprocess.Popen([sys.executable, '-c', program, *asked], env=env, cwd=out, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, text=True)
    said = run.stderr.read() # until it ends
    _, status, usage = os.wait4(run.pid, 0)
    if status: sys.exit(f'tcl_segment ended with {os.waitstatus_to_exitcode(status)}:\n{said}')
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime

def differing(one, other):
    "Pixels whose label is not the same, of all pictures"
    files = sorted(one.glob('*_labels.png'))
    pairs = [(np.array(Image.open(f)), np.array(Image.open(other/f.name))) for f in files]
    return len(files), sum(int((a != b).sum()) for a, b in pairs)

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--before', required=True, help='folder with another version, such as a git worktree')
    ap.add_argument('--pictures', type=int, default=50)
    ap.add_argument('--words', type=int, default=20)
    ap.add_argument('--turns', type=int, default=1)
    ap.add_argument('--model', default='photo')
    args = ap.parse_args()
    versions = dict(before=Path(args.before).resolve(), now=Path(__file__).resolve().parent.parent)
    found = {name: [] for name in versions}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder/'photos').mkdir()
        photographs(folder/'photos', args.pictures)
        print(f"{'run':<8}{'turn':>5}{'wall s':>9}{'cpu s':>9}")
        for turn in range(args.turns):
            for name, version in versions.items():
                out = folder/f'{name} {turn}'
                out.mkdir()
                found[name].append(timed(version, folder/'photos', out, args))
                print(f'{name:<8}{turn:>5}' + ''.join(f'{seconds:>9.1f}' for seconds in found[name][-1]), flush=True)
        pictures, off = differing(folder/'before 0'/'masks', folder/'now 0'/'masks')
    best = {name: [min(turn[k] for turn in turns) for k in (0, 1)] for name, turns in found.items()}
    shares = [best['now'][k]/best['before'][k] for k in (0, 1)]
    print(f"{'share':<13}" + ''.join(f'{share:>9.2f}' for share in shares))
    print(f'{pictures} pictures, {args.words} words, {off} labels differ')
    print(json.dumps(dict(model=args.model, pictures=pictures, words=args.words, before=best['before'], now=best['now'],
                          labels_that_differ=off, torch=torch.__version__, python=platform.python_version())))
    if off or pictures != args.pictures: sys.exit('labels differ, or are missing')

if __name__ == '__main__': main()
