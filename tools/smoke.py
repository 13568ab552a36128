"""Import every module and run each room once in small, as a user without the dev extra would.  python tools/smoke.py"""
import importlib, pkgutil, subprocess, sys, tempfile
from pathlib import Path
import torch
from PIL import Image
import tcl_nb

#: Building a tower of the published size; the exit code says whether PyTorch's compiler was imported for it
TOWER = "import sys; from tcl_nb.clip import load_clip; load_clip('ViT-B-16'); sys.exit('torch._dynamo' in sys.modules)"

def main():
    modules = [m.name for m in pkgutil.iter_modules(tcl_nb.__path__) if not m.name.startswith('_')]
    for m in modules: importlib.import_module(f'tcl_nb.{m}')
    from fastai.learner import Learner # the newest fastai lives beside this package
    from tcl_nb.demo import tcl_demo
    from tcl_nb.segment import tcl_segment
    with tempfile.TemporaryDirectory() as folder:
        tcl_demo(['--steps', '2', '--batch', '4', '--scenes', '10', '--out', folder])
        assert (Path(folder)/'tcl_demo.png').stat().st_size > 10_000
        photo = Path(folder)/'photo.png'
        Image.radial_gradient('L').convert('RGB').save(photo)
        tcl_segment([str(photo), 'moon', 'sky', '--model', 'photo', '--out', folder])
        assert (Path(folder)/'photo_labels.png').is_file()
    assert not subprocess.run([sys.executable, '-c', TOWER]).returncode
    print(f'{len(modules)} modules, demo runs, photo labels, fastai {importlib.import_module("fastai").__version__}, '
          f'torch {torch.__version__}')

if __name__ == '__main__': main()
