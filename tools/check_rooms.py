"""Is the table of rooms in CONTRIBUTING.md the house that stands there?

    python tools/check_rooms.py [--draw]

Every module has a row and every row a module; a module imports only from rows above its own, and no name that begins
with an underscore; none is longer than 450 lines. With --draw the imports are printed, a room a line, from the ground
up.
"""
import argparse, ast, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 450 # lines of a module

def table():
    "Module → its notebook, in the table's order"
    rows = re.findall(r'^\| [^|]* \| `([\w/]+)` → `(\w+)` \|', (ROOT/'CONTRIBUTING.md').read_text(encoding='utf-8'),
                      re.M)
    return {module: notebook for notebook, module in rows}

def imports(path):
    "The modules of tcl_nb that a file imports from, inside functions too, and what it takes from each"
    out = {}
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if not isinstance(node, ast.ImportFrom) or not node.module: continue
        if node.level == 1 or node.module.startswith('tcl_nb.'): # nbdev writes 'from .core import'
            out.setdefault(node.module.removeprefix('tcl_nb.'), set()).update(alias.name for alias in node.names)
    return out

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--draw', action='store_true', help='print the imports')
    args, rooms, faults = ap.parse_args(), table(), []
    files = {path.stem: path for path in (ROOT/'tcl_nb').glob('*.py') if not path.stem.startswith('_')}
    faults += [f'{module}: no row in the table' for module in sorted(files.keys() - rooms.keys())]
    faults += [f'{module}: a row without a module' for module in sorted(rooms.keys() - files.keys())]
    order = list(rooms)
    for module in (m for m in order if m in files):
        notebook = ROOT/'nbs'/f'{rooms[module]}.ipynb'
        if not notebook.is_file(): faults.append(f'{module}: {rooms[module]}.ipynb is not there')
        taken = imports(files[module])
        if args.draw: print(f"{module:<16}← {', '.join(sorted(taken, key=order.index))}")
        for other, names in taken.items():
            if order.index(other) >= order.index(module):
                faults.append(f'{module} imports from {other}, which is not above it in the table')
            faults += [f'{module} takes {name} from {other}' for name in sorted(names) if name.startswith('_')]
        lines = len(files[module].read_text(encoding='utf-8').splitlines())
        if lines > LONGEST: faults.append(f'{module}: {lines} lines, more than {LONGEST}')
    print(*faults, sep='\n')
    if faults: sys.exit(1)
    print(f'{len(rooms)} rooms, imports one way, none over {LONGEST} lines')

if __name__ == '__main__': main()
