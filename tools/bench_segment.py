"""Time and memory of the command tcl_segment on a scene of 1,000×700 and on a photograph of 100 megapixels, for 20 words.

    python tools/bench_segment.py [--threads 2]

Runs the command as a user does, each time in a process of its own, with the small world's model and with a ViT-B/16 of the
published size (seeded random weights, written to a temporary tcl.pth and a CLIP checkpoint: the time and the memory are those
of the real ones). Memory is the process's largest resident set. The photograph is scikit-image's astronaut, enlarged. Prints a
table; the last line is JSON. Exit code 1 when a run fails.
"""
import argparse, json, os, subprocess, sys, tempfile, time
from pathlib import Path
import torch
from PIL import Image
from skimage import data
from tcl_nb.clip import load_clip
from tcl_nb.grounder import Grounder
from tcl_nb.smallworld import SmallWorld

LAST, DECODER, PROJECT = 'masker.image_encoder.backbone.transformer.resblocks.11.', 'masker.image_encoder.decoder.decoder.net.', 'masker.image_encoder.decoder.image_proj.'

def published_form(grounder):
    "A grounder's weights by the published names"
    def name(k):
        if k in ('w', 'b'): return f'masker.sim2mask.{k}'
        part, rest = k.split('.', 1)
        return {'block': LAST, 'decoder': DECODER, 'project': PROJECT}[part] + (rest + '.gate' if rest.endswith('.gate') else rest)
    return {name(k): v for k, v in grounder.state_dict().items()}

def seeded(folder):
    "Files of a seeded ViT-B/16 and grounder → options of the command"
    clip = load_clip('ViT-B-16-quickgelu'); torch.manual_seed(0); grounder = Grounder(clip, gate=.1)
    torch.save(clip.model.state_dict(), folder/'clip.pt'); torch.save({'model': published_form(grounder)}, folder/'tcl.pth')
    return ['--model', str(folder/'tcl.pth'), '--clip', str(folder/'clip.pt')]

def measure(command, threads):
    "(seconds, peak GB, exit code) of a command in a process of its own"
    env = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'CUDA_VISIBLE_DEVICES': ''}
    start = time.time(); child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    return time.time()-start, usage.ru_maxrss*(1 if sys.platform == 'darwin' else 1024)/1e9, os.waitstatus_to_exitcode(status)

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0]); ap.add_argument('--threads', type=int, default=2)
    args = ap.parse_args(); world = SmallWorld.load()
    words = world.split('seen').names[:20]
    with tempfile.TemporaryDirectory() as f:
        folder = Path(f)
        scene = Image.fromarray(world.scenes('seen', 1).image[0].permute(1, 2, 0).numpy()); scene.resize((1000, 700), Image.BICUBIC).save(folder/'scene.png')
        Image.fromarray(data.astronaut()).resize((12_000, 8_334), Image.BILINEAR).save(folder/'photo.jpg', quality=85)
        models = {'small': ['--model', 'small'], 'ViT-B/16, seeded': seeded(folder)}
        print(f"{'model':<20}{'picture':<12}{'seconds':>9}{'peak GB':>9}"); rows = []
        for model, options in models.items():
            for picture in ('scene.png', 'photo.jpg'):
                command = [sys.executable, '-c', 'from tcl_nb.segmentation import tcl_segment; tcl_segment()', str(folder/picture), *words, '--out', str(folder/model[:3]), *options]
                seconds, peak, code = measure(command, args.threads)
                if code: sys.exit(f'tcl_segment ended with {code}')
                rows.append(dict(model=model, picture=picture, seconds=round(seconds, 1), peak_gb=round(peak, 2)))
                print(f'{model:<20}{picture:<12}{seconds:>9.1f}{peak:>9.2f}', flush=True)
    print(json.dumps(rows))

if __name__ == '__main__': main()
