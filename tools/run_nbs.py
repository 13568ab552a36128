"""Run notebooks as `nbdev_test` does, keep their outputs and clean them: the way to fill a chapter's figures.

    python tools/run_nbs.py nbs/04_masking.ipynb …     (all notebooks when none is named)
"""
import argparse, os, sys, time, traceback
from pathlib import Path
os.environ.setdefault('MPLBACKEND', 'agg')
os.environ['IN_TEST'] = '1'
from execnb.nbio import write_nb
from execnb.shell import CaptureShell
from fastcore.xtras import working_directory
from nbdev.clean import clean_nb
from nbdev.config import get_config
from nbdev.frontmatter import FrontmatterProc
from nbdev.process import NBProcessor
from nbformat import from_dict, read, write

SKIP_MIME = 'application/vnd.jupyter.widget-view+json' # holds a new id each run

def run(path, flags):
    "Run one notebook in its folder and write it back with its outputs"
    directives = [getattr(c, 'directives_', {}) or {}
                  for c in NBProcessor(path, procs=FrontmatterProc, process=True).nb.cells]
    nb = read(path, 4)
    code = [(c, d) for c, d in zip(nb.cells, directives) if c.cell_type == 'code']
    def skip(cell, d):
        return 'nbdev_export(' in cell.source or d.get('eval:', [''])[0].lower() == 'false' or flags & set(d)
    shell = CaptureShell(path, mpl_format='png')
    with working_directory(path.parent):
        for cell, d in code:
            if skip(cell, d): continue
            outputs = shell.run(cell.source)
            if shell.exc:
                sys.exit(f'{path}: this cell failed:\n{cell.source}\n\n'
                         + ''.join(traceback.format_exception(shell.exc)))
            for out in outputs:
                if 'data' in out: out['data'].pop(SKIP_MIME, None)
            cell.outputs = [_plain(o) for o in outputs]
            draws = any('image/png' in o.get('data', {}) for o in outputs)
            if 'print(' in cell.source and draws and not any(o['output_type'] == 'stream' for o in outputs):
                print(f'{path}: this cell draws, and what it may print beside that is lost; split it:\n{cell.source}')
    clean_nb(nb)
    write(nb, path)

def _plain(output):
    "An execnb output as nbformat wants it: texts in one string"
    join = lambda v: ''.join(v) if isinstance(v, list) else v
    out = {k: join(v) if k == 'text' else v for k, v in dict(output).items()}
    if 'data' in out:
        out['data'] = {k: join(v) for k, v in dict(out['data']).items()}
        out.setdefault('metadata', {})
    return from_dict(out)

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('notebooks', nargs='*', type=Path)
    ap.add_argument('--flags', default='', help='run the cells with these flags too, such as "slow"')
    args = ap.parse_args()
    root = get_config().config_path
    sys.path.insert(0, str(root))
    flags = set(get_config().tst_flags.split()) - set(args.flags.split())
    for path in args.notebooks or sorted((root/'nbs').rglob('*.ipynb')):
        start = time.time()
        run(path.resolve(), flags)
        print(f'{path}: {time.time()-start:.1f} s', flush=True)

if __name__ == '__main__': main()
