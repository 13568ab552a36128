"""Do the tests notice when a line of the package is broken?

    python tools/mutate.py [--number 60] [--seed 0] [--rooms 03 04 05 06 07 09 10] [--jobs 2] [--log FILE] [--list]
                           [--again]

Breaks one place at a time of the code that a notebook exports (a comparison, a sign, a number, a condition, a statement
left out), runs the notebook's cells below it as nbdev_test does, up to the first that fails, and says what was caught
and what was not. Places are drawn by the seed, the rooms in turn, so a run can be repeated. A chapter runs once: where
a cell is to be broken the process forks (so not on Windows). Nothing in the repository is touched. With --again, after
tests were added, those that the log says were not caught are tried once more; the log stays as it is for the others,
whose code is the same. Exit status 1 where less than --share (0.95) is caught.
"""
import argparse, ast, json, os, platform, random, select, shutil, signal, subprocess, sys, tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('MPLBACKEND', 'agg')
from execnb.shell import CaptureShell
from nbdev.frontmatter import FrontmatterProc
from nbdev.process import NBProcessor

BOOK = Path(__file__).resolve().parent.parent/'nbs'
OPPOSITE = {ast.Lt: '>=', ast.LtE: '>', ast.Gt: '<=', ast.GtE: '<', ast.Eq: '!=', ast.NotEq: '==', ast.In: 'not in',
            ast.NotIn: 'in', ast.Is: 'is not', ast.IsNot: 'is'}
OTHER = {ast.Add: '-', ast.Sub: '+', ast.Mult: '/', ast.Div: '*', ast.FloorDiv: '*', ast.Mod: '*', ast.Pow: '*',
         ast.MatMult: '+'}
#: Room → its notebooks: a chapter, and what of it lives in the workshop
ROOMS = {
    '03': ('03_grounder', 'workshop/tiles', 'workshop/published', 'workshop/grounder'),
    '04': ('04_masking',),
    '05': ('05_losses',),
    '06': ('06_pamr',),
    '07': ('07_segmentation', 'workshop/classes', 'workshop/settings', 'workshop/regions', 'workshop/masks',
           'workshop/segment'),
    '09': ('09_training', 'workshop/learner', 'workshop/recipe', 'workshop/runs'),
    '10': ('10_evaluation', 'workshop/protocols', 'workshop/labeller', 'workshop/tally', 'workshop/scores',
           'workshop/evaluate'),
}

#: Names of functions that draw, or say what things are: they are looked at, not tested
LOOKS = 'draw', 'show', '_draw', 'arguments', '__repr__', '__str__'

#: Mutants that change nothing that could be tested, and why; in place of each another is drawn
EQUAL = {
    '04_masking #b45593f2: if uniform is None: uniform = torch.rand_like(logits).clamp(1e-6, 1-1e-6)  →  «+» '
    'for «-» at 71':
        'random numbers are below 1, so the upper bound only differs for one in a million, by less than it matters',
    '05_losses #b439bc12: variation = sum(grid.diff(dim=d).abs().mean((2, 3)) for d in (-1, -2))  →  «2» '
    'for «-2» at 70':
        'the grid has four dimensions, so both name the same one',
    '05_losses #fe4515bb: others = (area.sum() - own.sum())/max(1, area.numel() - own.numel())  →  «2» for «1» at 42':
        'of B texts B²-B are of others: 0, where the sum is 0 too, or 2 and more',
    '06_pamr #95ce89c5: total, squares = total + d, squares + d*d  →  «-» for «+» at 30':
        'the sum is squared, so its sign does not matter',
    'regions #9f47f136: n = int(index.max()) + 1  →  «2» for «1» at 27':
        'a region more, to which no pixel belongs',
    'learner #62f5e32d: order = -9 # after TrainEvalCallback, which counts  →  «10» for «9» at 13':
        'then the order is that of TrainEvalCallback, which is listed before it and so still comes first',
    'learner #ae6114e0: order = 62  →  «63» for «62» at 12':
        'between 62 and 63 there is no other',
    'runs #6cb1ccfb: order = 70 # after all others  →  «71» for «70» at 12':
        'between 70 and 71 there is no other',
    'runs #6cb1ccfb: stop, step = _any_rank(self.asked, self.xb[0].device), self.train_iter  →  «1» for «0» at 51':
        'all tensors of a batch are on one device',
}

def between(source, left, right):
    "Where an operator stands: the span between two nodes"
    lines = source.splitlines(keepends=True)
    def at(line, column):
        return sum(len(text) for text in lines[:line-1]) + len(lines[line-1].encode()[:column].decode())
    return at(left.end_lineno, left.end_col_offset), at(right.lineno, right.col_offset)

def span(source, node):
    "Where a node stands in a source"
    lines = source.splitlines(keepends=True)
    def at(line, column):
        return sum(len(text) for text in lines[:line-1]) + len(lines[line-1].encode()[:column].decode())
    return at(node.lineno, node.col_offset), at(node.end_lineno, node.end_col_offset)

def replaced(node):
    "What a node, or its operator, is replaced with; None where nothing is"
    if isinstance(node, ast.Compare) and len(node.ops) == 1: return OPPOSITE[type(node.ops[0])]
    if isinstance(node, ast.BinOp): return OTHER.get(type(node.op))
    if isinstance(node, ast.BoolOp) and len(node.values) == 2: return 'or' if isinstance(node.op, ast.And) else 'and'
    if isinstance(node, ast.Constant) and isinstance(node.value, bool): return str(not node.value)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float): return str(node.value + 1)
    if isinstance(node, ast.UnaryOp): return ast.unparse(node.operand)
    if isinstance(node, (ast.AugAssign, ast.Expr)) and not isinstance(getattr(node, 'value', None), ast.Constant):
        return 'pass'
    return None

def tested(tree):
    "Nodes of functions that tests are for: no annotations, messages and drawings"
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name.startswith(LOOKS):
            skipped.update(map(id, ast.walk(node)))
        if isinstance(node, ast.Raise): skipped.update(map(id, ast.walk(node)))
        for annotation in (getattr(node, 'annotation', None), getattr(node, 'returns', None)):
            if annotation: skipped.update(map(id, ast.walk(annotation)))
        if isinstance(node, ast.JoinedStr): skipped.update(map(id, ast.walk(node)))
        # x.shape[-2:] of a tensor of four is x.shape[2:]: nothing would be broken
        if isinstance(node, ast.Subscript) and ast.unparse(node).endswith(('.shape[-2:]', '.shape[2:]')):
            skipped.update(map(id, ast.walk(node.slice)))
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
        if cell['cell_type'] != 'code' or not source.startswith('#| export'): continue
        if 'import ' in source.splitlines()[1] or '__main__' in source: continue
        for start, end, text in mutants(source): yield i, start, end, text

def module_of(page):
    "The module that a notebook is exported to"
    cells = (''.join(cell['source']) for cell in json.loads(page.read_text())['cells'])
    name, = (source.split()[2] for source in cells if source.startswith('#| default_exp'))
    return f'tcl_nb/{name}.py'

def broken(source, place):
    "A cell's source with one place broken"
    _, start, end, text = place
    return source[:start] + text + source[end:]

def told(page, place):
    "A mutant in one line: the cell, the line, what stands where"
    i, start, end, text = place
    cell = json.loads(page.read_text())['cells'][i]
    source = ''.join(cell['source'])
    begin, stop = source.rfind('\n', 0, start) + 1, source.find('\n', end)
    broken_line = source[begin:stop if stop > 0 else None].strip()
    other, was = (' '.join(part.split()) for part in (text, source[start:end])) # a statement may have several lines
    return f"{page.stem} #{cell['id']}: {' '.join(broken_line.split())}  →  «{other}» for «{was}» at {start - begin}"

class Chapter:
    "A notebook as nbdev_test runs it, cell by cell in this process"
    def __init__(self, page):
        self.page, self.shell = page, CaptureShell(page)
        self.cells = NBProcessor(page, procs=FrontmatterProc, process=True).nb.cells

    def skipped(self, i):
        cell = self.cells[i]
        if cell.cell_type != 'code' or 'nbdev_export(' in cell.source: return True
        told = getattr(cell, 'directives_', None) or {}
        return told.get('eval:', [''])[0].lower() == 'false' or bool({'slow', 'gpu'} & set(told))

    def first_failure(self, cells, place=None):
        """(cell, what it said) of the first of some cells that fails,
        one place of one of them broken; None where all pass"""
        for i in cells:
            if self.skipped(i): continue
            source = self.cells[i].source
            if place and place[0] == i:
                raw = ''.join(json.loads(self.page.read_text())['cells'][i]['source'])
                source = broken(raw, place)
            self.shell.run(source)
            if self.shell.exc: return i, type(self.shell.exc).__name__
        return None

def with_broken_package(page, place, where):
    "A copy of the package with one place broken, for the processes that a test starts"
    folder = Path(tempfile.mkdtemp(dir=where))
    (folder/'tcl_nb').mkdir()
    for path in (BOOK.parent/'tcl_nb').iterdir():
        if path.suffix == '.py': shutil.copy(path, folder/'tcl_nb')
        elif path.name != '__pycache__': (folder/'tcl_nb'/path.name).symlink_to(path)
    raw = ''.join(json.loads(page.read_text())['cells'][place[0]]['source'])
    body = raw.split('\n', 1)[1] # without its directive
    shift = len(raw) - len(body)
    module = folder/module_of(page)
    text = module.read_text()
    if text.count(body) == 1:
        module.write_text(text.replace(body, broken(body, (place[0], place[1]-shift, place[2]-shift, place[3]))))
    return folder

def in_a_fork(work, limit):
    """What a function returns in a copy of this process; 'too long' where it
    takes more seconds than the limit, 'it ended' where it ends the process"""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(ours)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2): os.dup2(nothing, stream)
        answer = json.dumps(work()).encode()
        os.write(theirs, answer)
        os._exit(0)
    os.close(theirs)
    ready, _, _ = select.select([ours], [], [], limit)
    answer = os.read(ours, 1 << 16) if ready else b'"too long"'
    os.close(ours)
    try: os.killpg(child, signal.SIGKILL)
    except ProcessLookupError: pass
    os.waitpid(child, 0)
    return json.loads(answer or b'"it ended"')

def stamp(path): return path.stat().st_size, path.stat().st_mtime_ns

@contextmanager
def undone(folder):
    "What a block changes in a folder is as it was when the block is left; files that it leaves alone are not touched"
    with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
        shutil.copytree(folder, aside, symlinks=True, dirs_exist_ok=True)
        yield
        before = {p.relative_to(aside): stamp(p) for p in Path(aside).rglob('*') if p.is_file()}
        for path in sorted(folder.rglob('*'), reverse=True):
            name = path.relative_to(folder)
            if path.is_dir() and not path.is_symlink():
                if not (Path(aside)/name).is_dir(): path.rmdir()
            elif path.is_symlink() or not (Path(aside)/name).exists() or path.is_file() and stamp(path) != before[name]:
                path.unlink() # what was there comes back below
        shutil.copytree(aside, folder, symlinks=True, dirs_exist_ok=True,
                        copy_function=lambda one, other: Path(other).exists() or shutil.copy2(one, other))

def outcomes(page, chosen, limit):
    """Yields (place, [first failing cell, its exception] or None) for the chosen places of a chapter.

    The chapter runs once. Where a cell is to be broken the process forks: its copy runs the broken cell and those
    below, up to the first that fails. The unbroken cells up to there must pass in a fork too, or the failure proves
    nothing.
    """
    sys.path.insert(0, str(BOOK.parent))
    os.environ['IN_TEST'] = '1'
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder/'tmp').mkdir()
        left_out = shutil.ignore_patterns('.ipynb_checkpoints', '*.ipynb')
        shutil.copytree(BOOK, folder/'nbs', symlinks=True, ignore=left_out)
        os.chdir(folder/page.parent.relative_to(BOOK.parent))
        os.environ['TMPDIR'] = tempfile.tempdir = str(folder/'tmp')
        chapter = Chapter(page)
        last = len(chapter.cells)
        for i in range(last):
            mine = [p for p in chosen if p[0] == i]
            furthest = i
            for place in mine:
                package = with_broken_package(page, place, folder.parent)
                def work():
                    sys.path.insert(0, str(package))
                    os.environ['PYTHONPATH'] = os.pathsep.join([str(package), os.environ.get('PYTHONPATH', '')])
                    return chapter.first_failure(range(i, last), place)
                with undone(folder): found = in_a_fork(work, limit)
                shutil.rmtree(package)
                if isinstance(found, list): furthest = max(furthest, found[0])
                yield place, found
            if mine:
                with undone(folder): control = in_a_fork(lambda: chapter.first_failure(range(i, furthest + 1)), limit)
                if control: raise RuntimeError(f'{page.name}: in a fork it fails as it is: {control}')
            found = chapter.first_failure([i])
            if found: raise RuntimeError(f'{page.name}: fails as it is: {found}')
        os.chdir(BOOK) # the folder goes

def drawn(rooms, number, seed):
    "(notebook → the places of it that are broken, those that change nothing): rooms in turn, places by the seed"
    draw, chosen, equal = random.Random(seed), {}, []
    queues = []
    for room in rooms:
        pages = [BOOK/f'{name}.ipynb' for name in ROOMS[room]]
        found = [(page, place) for page in pages for place in places(page)]
        draw.shuffle(found)
        queues.append(iter(found))
    for i in range(number):
        page, place = next(queues[i % len(rooms)])
        while told(page, place) in EQUAL:
            equal.append(told(page, place))
            page, place = next(queues[i % len(rooms)])
        chosen.setdefault(page, []).append(place)
    return chosen, equal

def line(page, place, found):
    "What became of a mutant, in one line"
    mutant = told(page, place)
    if found is None: return f'NOT CAUGHT  {mutant}'
    return f"caught  {mutant}  ({f'cell {found[0]}, {found[1]}' if isinstance(found, list) else found})"

def examined(page, chosen, limit):
    "What became of the chosen mutants of a chapter, in lines"
    lines = []
    for place, found in outcomes(page, chosen, limit):
        lines.append(line(page, place, found))
        print(lines[-1], flush=True)
    return lines

def in_a_process(*what):
    "The same in a process of its own"
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as own: return own.submit(examined, *what).result()

def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--number', type=int, default=60)
    ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--rooms', nargs='+', default=list(ROOMS), choices=list(ROOMS))
    ap.add_argument('--jobs', type=int, default=2, help='notebooks at a time')
    ap.add_argument('--limit', type=float, default=300, help='seconds that the rest of a chapter may take')
    ap.add_argument('--share', type=float, default=.95, help='that must be caught')
    ap.add_argument('--log')
    ap.add_argument('--again', action='store_true', help='only those that the log says were not caught')
    ap.add_argument('--list', action='store_true', help='say what would be broken, and break nothing')
    args = ap.parse_args()
    (chosen, equal), lines = drawn(args.rooms, args.number, args.seed), []
    if args.list:
        print('\n'.join(told(page, p) for page, some in chosen.items() for p in some))
        return
    if args.again:
        kept = {text.split('  ', 1)[1].rsplit('  (', 1)[0]: text for text in Path(args.log).read_text().splitlines()
                if text.startswith('caught')}
        lines = [kept[told(page, p)] for page, some in chosen.items() for p in some if told(page, p) in kept]
        chosen = {page: left for page, some in chosen.items()
                  if (left := [p for p in some if told(page, p) not in kept])}
    with ThreadPoolExecutor(args.jobs) as pool:
        for mine in pool.map(lambda page: in_a_process(page, chosen[page], args.limit), chosen): lines += mine
    found = sum(text.startswith('caught') for text in lines)
    end = f'{found} of {len(lines)} caught'
    print(end)
    if args.log:
        write_log(args, [*sorted(lines), end, *(f'drawn, but equal in effect: {text}  ({EQUAL[text]})'
                                                for text in equal)])
    sys.exit(found < args.share*len(lines))

def write_log(args, lines):
    "The log, with what it was made by"
    commit = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], cwd=BOOK, capture_output=True,
                            text=True).stdout.strip()
    made = f"# python tools/mutate.py --number {args.number} --seed {args.seed} --rooms {' '.join(args.rooms)}"
    with_what = (f"# {date.today()}, commit {commit}, Python {platform.python_version()}, torch {version('torch')}, 1 "
                 "thread a chapter")
    if args.again: made += ', and --again after tests were added'
    Path(args.log).write_text('\n'.join([made, with_what, *lines]) + '\n')

if __name__ == '__main__': main()
