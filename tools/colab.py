"""Write into each notebook its link to Colab and the cell that prepares Colab, or check that they are there.

    python tools/colab.py [--check]

Both stand right below the title. On Colab the cell fetches the repository, for the files beside the notebook, and
installs the package from it; anywhere else it does nothing.
"""
import argparse, configparser, sys
from pathlib import Path
import nbformat

ROOT = Path(__file__).resolve().parent.parent
settings = configparser.ConfigParser()
settings.read(ROOT/'settings.ini', encoding='utf-8')
USER, REPO, BRANCH = (settings['DEFAULT'][k] for k in ('user', 'repo', 'branch'))

def cells(path):
    "The two cells of a notebook"
    place = path.relative_to(ROOT).as_posix()
    folder = f'{REPO}/{Path(place).parent.as_posix()}'
    yield 'markdown', f'[Open in Colab](https://colab.research.google.com/github/{USER}/{REPO}/blob/{BRANCH}/{place})'
    yield 'code', ("#| hide\nif 'google.colab' in str(get_ipython()): # the package, and the files beside "
                   "this notebook\n"
                   f'    !git clone -q https://github.com/{USER}/{REPO} && pip install -q ./{REPO}\n    '
                   f'%cd -q {folder}')

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--check', action='store_true', help='change nothing; fail where a cell is missing or stale')
    check, stale = ap.parse_args().check, []
    for path in sorted((ROOT/'nbs').rglob('*.ipynb')):
        if '.ipynb_checkpoints' in path.parts: continue
        nb, wanted = nbformat.read(path, 4), list(cells(path))
        if [(c.cell_type, c.source) for c in nb.cells[1:3]] == wanted: continue
        stale.append(path.relative_to(ROOT).as_posix())
        nb.cells[1:] = [c for c in nb.cells[1:] if not ('colab.research' in c.source or "'google.colab'" in c.source)]
        nb.cells[1:1] = [getattr(nbformat.v4, f'new_{kind}_cell')(source) for kind, source in wanted]
        if not check: nbformat.write(nb, path)
    if stale: print('no fresh link to Colab (python tools/colab.py):' if check else 'written:', *stale)
    sys.exit(bool(check and stale))

if __name__ == '__main__': main()
