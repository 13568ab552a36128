"""What does TCL learn in forty steps, and what when a loss is broken?

    python tools/learning.py [--steps 40] [--batch 16] [--seed 0] [--log FILE]

Trains a fresh grounder on the small world with all losses as they are; then with each loss in turn turned around, so
that it pulls the wrong way, and left out; and with captions that belong to other pictures. Says of each the mIoU on
scenes of the test set `seen` and the six terms on pairs that it has not trained on. The first is the run of chapter
12's test that TCL learns, which holds all lines against its bars: nbs/results/learning.log, and learning_1.log and
learning_2.log with the next two seeds.
"""
import argparse, os, platform, time
os.environ.setdefault('OMP_NUM_THREADS', '1')
from datetime import date
from importlib.metadata import version
from pathlib import Path
import torch
from tcl_nb.clip import load_clip
from tcl_nb.core import normalise
from tcl_nb.demo import GATE, RATE
from tcl_nb.evaluation import evaluate, find_threshold
from tcl_nb.grounder import Grounder
from tcl_nb.losses import WEIGHTS
from tcl_nb.segmentation import maskclip_system, tcl_system
from tcl_nb.smallworld import SmallWorld
from tcl_nb.training import Objective, pairs, train

def measured(system, world, clip, scenes):
    "mIoU on scenes of the test set, with the threshold that as many of the validation set fixed"
    return evaluate(system, clip, world, 'seen', find_threshold(system, clip, world, scenes)[0], scenes)

def learned(world, clip, weights, steps, batch, seed, others=False):
    "An objective trained with these weights of the losses; with `others`, on captions of other pictures"
    torch.manual_seed(seed)
    objective = Objective(clip, Grounder(clip, True, GATE), weights)
    stream = pairs(world, clip, steps, batch, seed)
    if others: stream = ((image, text.roll(1, 0)) for image, text in stream)
    train(objective, stream, steps, RATE, seed)
    objective.eval()
    return objective

@torch.no_grad()
def six_terms(objective, world, clip):
    "The terms on 32 pairs of the validation set"
    scenes = world.scenes('val', 32)
    torch.manual_seed(0)
    terms = Objective(clip, objective.grounder)(normalise(scenes.image, clip.mean, clip.std),
                                                clip.text_embedding(scenes.captions))
    return {name: terms[name].item() for name in WEIGHTS}

def changes():
    "What is broken → (weights of the losses, whether captions are those of other pictures)"
    yield 'nothing', WEIGHTS, False
    for name in WEIGHTS: yield f'{name} turned around', {**WEIGHTS, name: -WEIGHTS[name]}, False
    yield 'captions of other pictures', WEIGHTS, True
    for name in WEIGHTS: yield f'{name} left out', {k: v for k, v in WEIGHTS.items() if k != name}, False

def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--steps', type=int, default=40)
    ap.add_argument('--batch', type=int, default=16)
    ap.add_argument('--scenes', type=int, default=25)
    ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--only', nargs='+', help='words in what is broken')
    ap.add_argument('--log')
    args = ap.parse_args()
    world, clip = SmallWorld.load(), load_clip('small')
    lines = []
    def say(*words):
        lines.append(' '.join(words))
        print(lines[-1], flush=True)
        if args.log: Path(args.log).write_text('\n'.join(lines) + '\n')
    say(f'# python tools/learning.py --steps {args.steps} --batch {args.batch} --scenes {args.scenes} '
        f'--seed {args.seed}')
    say(f"# {date.today()}, Python {platform.python_version()}, torch {version('torch')}, {torch.get_num_threads()} "
        "thread; mIoU in percent")
    say(f'{"broken":<28}{"mIoU":>6}', ''.join(f'{name:>12}' for name in WEIGHTS), '  seconds of processor')
    say(f'{"MaskCLIP, untrained":<28}{measured(maskclip_system(clip), world, clip, args.scenes):6.1f}')
    for name, weights, others in changes():
        if args.only and not any(word in name for word in args.only): continue
        start = time.process_time()
        objective = learned(world, clip, weights, args.steps, args.batch, args.seed, others)
        found = measured(tcl_system(clip, objective.grounder), world, clip, args.scenes)
        took = time.process_time() - start
        say(f'{name:<28}{found:6.1f}', ''.join(f'{value:12.3f}'
                                               for value in six_terms(objective, world, clip).values()), f'{took:6.0f}')

if __name__ == '__main__': main()
