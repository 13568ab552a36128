"""Do the tests notice when a line of the package is broken?

    python tools/mutate.py [--number 60] [--seed 0] [--rooms 03 04 05 06 07 09 10] [--jobs 2] [--log FILE]

Breaks one place at a time of the code that a notebook exports (a comparison, a sign, a number, a condition, a statement left out), runs the
notebook as a test, and says what was caught and what was not. Places are drawn by the seed, the rooms in turn, so a run can be repeated.
The repository is not touched: the broken notebook lies in a copy of nbs/. Exit status 1 where less than --share (0.95) is caught.
"""
import argparse, ast, json, random, shutil, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BOOK = Path(__file__).resolve().parent.parent/'nbs'
OPPOSITE = {ast.Lt: '>=', ast.LtE: '>', ast.Gt: '<=', ast.GtE: '<', ast.Eq: '!=', ast.NotEq: '==', ast.In: 'not in', ast.NotIn: 'in', ast.Is: 'is not', ast.IsNot: 'is'}
OTHER = {ast.Add: '-', ast.Sub: '+', ast.Mult: '/', ast.Div: '*', ast.FloorDiv: '*', ast.Mod: '*', ast.Pow: '*', ast.MatMult: '+'}
LOOKS = 'draw', 'show', '_draw', 'arguments', '__repr__', '__str__' #: Names of functions that draw, or say what things are: they are looked at, not tested

def between(source, left, right):
    "Where an operator stands: the span between two nodes"
    lines = source.splitlines(keepends=True)
    def at(line, column): return sum(len(text) for text in lines[:line-1]) + len(lines[line-1].encode()[:column].decode())
    return at(left.end_lineno, left.end_col_offset), at(right.lineno, right.col_offset)

def span(source, node):
    "Where a node stands in a source"
    lines = source.splitlines(keepends=True)
    def at(line, column): return sum(len(text) for text in lines[:line-1]) + len(lines[line-1].encode()[:column].decode())
    return at(node.lineno, node.col_offset), at(node.end_lineno, node.end_col_offset)

def replaced(node):
    "What a node, or its operator, is replaced with; None where nothing is"
    if isinstance(node, ast.Compare) and len(node.ops) == 1: return OPPOSITE[type(node.ops[0])]
    if isinstance(node, ast.BinOp): return OTHER.get(type(node.op))
    if isinstance(node, ast.BoolOp) and len(node.values) == 2: return 'or' if isinstance(node.op, ast.And) else 'and'
    if isinstance(node, ast.Constant) and isinstance(node.value, bool): return str(not node.value)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float): return str(node.value + 1)
    if isinstance(node, ast.UnaryOp): return ast.unparse(node.operand)
    if isinstance(node, (ast.AugAssign, ast.Expr)) and not isinstance(getattr(node, 'value', None), ast.Constant): return 'pass'
    return None

def tested(tree):
    "Nodes of functions that tests are for: no annotations, messages and drawings"
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name.startswith(LOOKS): skipped.update(map(id, ast.walk(node)))
        if isinstance(node, ast.Raise): skipped.update(map(id, ast.walk(node)))
        for annotation in (getattr(node, 'annotation', None), getattr(node, 'returns', None)):
            if annotation: skipped.update(map(id, ast.walk(annotation)))
        if isinstance(node, ast.JoinedStr): skipped.update(map(id, ast.walk(node)))
    return [node for node in ast.walk(tree) if id(node) not in skipped and hasattr(node, 'lineno')]

def mutants(source):
    "Every (start, end, text) that breaks one place of a source"
    for node in tested(ast.parse(source)):
        text = replaced(node)
        if text is None: continue
        if isinstance(node, ast.Compare): start, end = between(source, node.left, node.comparators[0])
        elif isinstance(node, ast.BinOp): start, end = between(source, node.left, node.right)
        elif isinstance(node, ast.BoolOp): start, end = between(source, *node.values)
        else: start, end = span(source, node)
        within = source[start:end]
        if isinstance(node, (ast.Compare, ast.BinOp, ast.BoolOp)): # brackets around the operands stay
            text = within[:len(within) - len(within.lstrip(') '))] + f' {text} ' + within[len(within.rstrip('( ')):]
        yield start, end, text

def places(page):
    "Every mutant of a notebook: (number of the cell, start, end, text)"
    for i, cell in enumerate(json.loads(page.read_text())['cells']):
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code' or not source.startswith('#| export') or 'import ' in source.splitlines()[1] or '__main__' in source: continue
        for start, end, text in mutants(source): yield i, start, end, text

RUN = """
import sys
from pathlib import Path
from nbdev.test import test_nb
sys.exit(not test_nb(Path(sys.argv[1]), skip_flags=['slow', 'gpu'], showerr=False)[0])
"""

def caught(page, place, limit):
    "Whether a notebook's tests fail when one place is broken"
    nb = json.loads(page.read_text())
    if place:
        i, start, end, text = place
        source = ''.join(nb['cells'][i]['source'])
        nb['cells'][i]['source'] = source[:start] + text + source[end:]
    nb['cells'] = [c for c in nb['cells'] if 'nbdev_export' not in ''.join(c['source'])]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)/'nbs'
        shutil.copytree(BOOK, copy, ignore=shutil.ignore_patterns('.ipynb_checkpoints', '*.ipynb'))
        (copy/page.name).write_text(json.dumps(nb))
        try: return subprocess.run([sys.executable, '-c', RUN, copy/page.name], cwd=copy, capture_output=True, timeout=limit).returncode != 0
        except subprocess.TimeoutExpired: return True # it would not have ended

def told(page, place):
    "A mutant in one line"
    i, start, end, text = place
    source = ''.join(json.loads(page.read_text())['cells'][i]['source'])
    begin, stop = source.rfind('\n', 0, start) + 1, source.find('\n', end)
    line = source[begin:stop if stop > 0 else None]
    return f"{page.stem}: {line.strip()[:150]}  →  «{text.strip()}» for «{source[start:end].strip()[:60]}» at {start - begin}"

def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--number', type=int, default=60)
    ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--rooms', nargs='+', default=['03', '04', '05', '06', '07', '09', '10'])
    ap.add_argument('--jobs', type=int, default=2)
    ap.add_argument('--limit', type=float, default=900, help='seconds a notebook may take')
    ap.add_argument('--share', type=float, default=.95, help='that must be caught')
    ap.add_argument('--log')
    ap.add_argument('--list', action='store_true', help='say what would be broken, and break nothing')
    args = ap.parse_args()
    draw, jobs = random.Random(args.seed), []
    drawn = {page: list(places(page)) for room in args.rooms for page in BOOK.glob(f'{room}_*.ipynb')}
    for found in drawn.values(): draw.shuffle(found)
    for i in range(args.number):
        page = list(drawn)[i % len(drawn)]
        jobs.append((page, drawn[page][i//len(drawn)]))
    if args.list: print('\n'.join(told(*job) for job in jobs)); return
    lines = []
    def one(job):
        found = caught(*job, args.limit)
        lines.append(f"{'caught' if found else 'NOT CAUGHT'}  {told(*job)}")
        print(lines[-1], flush=True)
        return found
    with ThreadPoolExecutor(args.jobs) as pool:
        failing = [page.name for page, fails in zip(drawn, pool.map(lambda page: caught(page, None, args.limit), drawn)) if fails]
        if failing: sys.exit(f"{', '.join(failing)}: fails as it is")
        all_found = list(pool.map(one, jobs))
    end = f'{sum(all_found)} of {len(jobs)} caught ({sum(all_found)/len(jobs):.0%}), seed {args.seed}'
    print(end)
    if args.log: Path(args.log).write_text('\n'.join([*sorted(lines), end]) + '\n')
    sys.exit(sum(all_found) < args.share*len(jobs))

if __name__ == '__main__': main()
