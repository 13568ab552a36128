"""Are masks of a film better when they are steadied over time? Rows of a json.

    python tools/measure_video.py --json nbs/results/video.json [--scenes 60] [--pictures 24] [--photographs FOLDER]

Clips of nine frames with exact labels: a window that passes over a larger picture, by so many pixels a frame, with
noise as a sensor has it (standard deviation 8 of 255), drawn anew for each frame. The pictures are scenes of the small
world, read by the model `small`, and, with a folder as for tools/measure_photographs.py, MSRC's photographs by `photo`.
Scores are averaged with those of the frames before, each frame's mean being (1 - share) times its scores, plus share
times the mean before. A row has the mIoU of the last frame over all clips; the flicker, which is the share of pixels
whose label changes from the last frame but one to the last though the same thing is there (the window's movement is
undone for that); and `gain_spread`, the standard deviation of the difference in mIoU from share 0 over 200 draws of
clips with replacement.
"""
import argparse, json, platform
from datetime import date
from pathlib import Path
import torch
from tcl_nb import __version__
from tcl_nb.core import writing
from tcl_nb.evaluation import class_labels, confusion, mean_iou
from tcl_nb.masks import Segmentation
from tcl_nb.segmentation import Segmenter
from tcl_nb.smallworld import SmallWorld
from measure_photographs import opened
from measure_segments import gain_spread

SHARES, FRAMES, NOISE = (0., .2, .4, .6, .8), 9, 8.
#: Model → pixels a frame that the window moves: still, slowly, briskly
STEPS = dict(small=(0, 1, 4), photo=(0, 2, 8))

def of_scenes(n):
    "(a segmenter, words of each class, whether label 0 is background, pictures with their labels)"
    world = SmallWorld.load()
    split, found = world.split('seen'), world.scenes('seen', n, 0, 128)
    words = {name: [name] for name in split.names}
    truth = class_labels(found.labels, world, split)
    return Segmenter.from_pretrained('small', device='cpu'), words, True, [*zip(found.image, truth)]

def of_photographs(folder, n):
    "The same of MSRC's test part: wide photographs, labels without a background"
    own = opened(folder, 'msrc', 'test')
    words = {name: own.words[name] for name in own.names}
    segmenter = Segmenter.from_pretrained('photo', device='cpu')
    segmenter.settings = segmenter.changed(background=None)
    wide = [own[i] for i in range(0, len(own), 6)]
    wide = [(image, truth) for image, truth in wide if image.shape[2] >= image.shape[1] + room('photo')]
    return segmenter, words, False, wide[:n]

def room(model): return (FRAMES - 1)*max(STEPS[model])

def clip(image, labels, model, step, seed):
    "Yields frames: (pixels [3,side,side] with noise, their labels)"
    g = torch.Generator().manual_seed(seed)
    side = min(image.shape[1], image.shape[2] - room(model))
    for left in [k*step for k in range(FRAMES)]:
        part = image[:, :side, left:left+side].float()
        noisy = part + NOISE*torch.randn(part.shape, generator=g)
        yield noisy.clamp(0, 255).round().to(torch.uint8), labels[:side, left:left+side]

def steadied(segmenter, words, frames):
    "({share: labels of the last two frames}, the truth of the last)"
    mean, out = {}, {share: [] for share in SHARES}
    for pixels, truth in frames:
        found = segmenter.segment(pixels, words, pixels)
        for share in SHARES:
            mean[share] = found.scores.lerp(mean[share], share) if share in mean else found.scores
            now = Segmentation(pixels, found.names, mean[share], found.background)
            out[share] = [*out[share][-1:], now.labels]
    return out, truth

def rows(model, segmenter, words, background, pictures):
    "A row for each step and share"
    classes, out = len(words) + background, []
    for step in STEPS[model]:
        counts, changed = {share: [] for share in SHARES}, {share: [] for share in SHARES}
        for seed, (image, labels) in enumerate(pictures):
            found, truth = steadied(segmenter, words, clip(image, labels, model, step, seed))
            for share, (before, last) in found.items():
                counts[share].append(confusion(last - int(not background), truth, classes))
                side = last.shape[1] - step
                changed[share].append((before[:, step:] != last[:, :side]).float().mean())
        for share in SHARES:
            part, start = torch.stack(counts[share]), torch.stack(counts[0.])
            out.append(dict(model=model, step=step, share=share, clips=len(pictures),
                            miou=round(mean_iou(part.sum(0)), 2), gain_spread=round(gain_spread(part, start), 2),
                            gain=round(mean_iou(part.sum(0)) - mean_iou(start.sum(0)), 2),
                            flicker=round(100*torch.stack(changed[share]).mean().item(), 2)))
            print(out[-1], flush=True)
    return out

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--json', type=Path, required=True)
    ap.add_argument('--scenes', type=int, default=60)
    ap.add_argument('--photographs', type=Path, help='folder as for tools/measure_photographs.py')
    ap.add_argument('--pictures', type=int, default=24, help='of the photographs')
    args = ap.parse_args()
    found = rows('small', *of_scenes(args.scenes))
    if args.photographs: found += rows('photo', *of_photographs(args.photographs, args.pictures))
    how = f'--scenes {args.scenes} --photographs FOLDER --pictures {args.pictures}'
    told = dict(command=f'python tools/measure_video.py --json {args.json} {how}', date=str(date.today()),
                frames=FRAMES, noise=NOISE, rows=found,
                versions=dict(tcl_nb=__version__, torch=torch.__version__, python=platform.python_version()))
    with writing(args.json) as aside: aside.write_text(json.dumps(told).replace('{"model"', '\n{"model"') + '\n')

if __name__ == '__main__': main()
