"""Is a wheel whole?  python tools/check_wheel.py dist/*.whl"""
import sys, zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

def problems(wheel):
    "What is missing from the wheel, or does not belong in it"
    names = set(zipfile.ZipFile(wheel).namelist())
    lib = ROOT/'tcl_nb'
    wanted = {f.relative_to(ROOT).as_posix() for f in lib.rglob('*') if f.is_file() and '__pycache__' not in f.parts}
    yield from (f'missing: {n}' for n in sorted(wanted - names))
    yield from (f'does not belong: {n}' for n in sorted(names) if not n.startswith(('tcl_nb/', 'tcl_nb-')))
    meta = zipfile.ZipFile(wheel).read(next(n for n in names if n.endswith('METADATA'))).decode()
    yield from (f'metadata lacks: {k}'
                for k in ('Requires-Dist: torch', 'Provides-Extra: dev', 'License-File: LICENSE') if k not in meta)
    if not any('entry_points' in n for n in names): yield 'no entry points'

def main():
    if len(sys.argv) < 2: sys.exit(__doc__)
    bad = [f'{w}: {p}' for w in sys.argv[1:] for p in problems(w)]
    print('\n'.join(bad) or f'{len(sys.argv)-1} wheel whole')
    sys.exit(bool(bad))

if __name__ == '__main__': main()
