"""Are the numbers in the book those of the files that they come from?

    python tools/check_numbers.py            # complains and exits with 1 where a number differs
    python tools/check_numbers.py --prove    # changes one digit of every quoted number in turn, and sees each noticed
    python tools/check_numbers.py --update   # after a log was made anew: write its checksum
    python tools/check_numbers.py --untied   # list decimal numbers of the prose that no marker speaks of

A text cell that quotes measurements ends with a marker, which readers don't see:

    <!-- from results/ablation.json: rows[row=TCL,seed=0].seen=43.9 mean(rows[row=TCL].seen)=44.0 -->
    <!-- from results/bench_pamr.log: sparse_matrix:1=55 -->
    <!-- from this#37b3e6a4: naclip:0=21.4 -->
    <!-- from text: 0.4 -->

It says where each number stands, with ~ for a space. In a json that is a path; [key=value] chooses entries of a list,
and mean, sd, min and max sum several up. In any other file, and in what a cell of the same notebook printed (`this#`
and its id), it is the first line with some words (`a>b`: the first after that with other words), and which of the
numbers that follow them there, counted from 0. Before an address `100*` makes percent of a share, and `1/` its inverse.
A number must be its file's, rounded to as many digits, and it must stand in the cell. A cell with a marker has no other
decimal number; those that are not measured (a setting, a definition) are named as `text`. nbs/results/checksums.txt
holds a checksum of every file of results, in the form of sha256sum, so that none changes unnoticed.
"""
import argparse, hashlib, json, re, statistics, sys
from collections import Counter
from pathlib import Path

BOOK = Path(__file__).resolve().parent.parent/'nbs'
CHECKSUMS = BOOK/'results'/'checksums.txt'
MARKER = re.compile(r'<!-- from (\S+): (.*?) -->', re.S)
NUMBER = re.compile(r'(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?![\w])')
SUMS = dict(mean=statistics.mean, sd=statistics.stdev, min=min, max=max)

class Wrong(Exception): "What is wrong with a quoted number"

def texts(page):
    "Source of every text cell of a notebook, and {id: what it printed} of the others"
    cells, printed = json.loads(page)['cells'], {}
    for c in cells:
        if c['cell_type'] == 'code':
            printed[c['id']] = '\n'.join(''.join(o.get('text') or o.get('data', {}).get('text/plain', ''))
                                         for o in c['outputs'])
    return [''.join(c['source']) for c in cells if c['cell_type'] == 'markdown'], printed

def chosen(values, step):
    "One step of a path through json, from each of several values"
    name, _, condition = step.partition('[')
    if name: values = [v[int(name) if isinstance(v, list) else name] for v in values]
    if not condition: return values
    wanted = [pair.split('=') for pair in condition.rstrip(']').split(',')]
    return [e for v in values for e in v if all(str(e.get(key)) == value for key, value in wanted)]

def from_json(text, address):
    "The number at a path of a json file"
    function, inner = re.fullmatch(r'(?:(\w+)\()?(.*?)\)?', address).groups()
    values = [json.loads(text)]
    for step in re.findall(r'[^.\[\]]*\[[^\]]*\]|[^.\[\]]+', inner): values = chosen(values, step)
    if function: return SUMS[function](values)
    if len(values) != 1: raise Wrong(f'{address} names {len(values)} numbers')
    return values[0]

def from_lines(text, address):
    "The n-th number after some words in a line of a text"
    words, n = address.rsplit(':', 1)
    for part in words.split('>'):
        if part not in text: raise Wrong(f"no line has '{part}'")
        text = text.split(part, 1)[1]
    line = text.partition('\n')[0]
    return float(re.findall(r'-?\d+(?:\.\d+)?', line)[int(n)])

def number_at(name, text, address):
    "The number at an address of a file's text"
    times = re.match(r'([\d.]+)\*', address)
    factor, address = (float(times[1]), address[times.end():]) if times else (1, address)
    inverse, address = (True, address[2:]) if address.startswith('1/') else (False, address)
    try: found = (from_json if name.endswith('.json') else from_lines)(text, address)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as e:
        raise Wrong(f'{name}: nothing at {address} ({e})') from e
    return 1/found if inverse else factor*found

def claims(cell, page, printed, read):
    "Yields (file, address, quoted number, number there) of a cell's markers"
    for name, body in MARKER.findall(cell):
        if name == 'text':
            yield from ((name, 'text', quoted, float(quoted)) for quoted in body.split())
            continue
        text = printed.get(name[5:], '') if name.startswith('this#') else read((page.parent/name).resolve())
        for claim in body.split():
            address, quoted = claim.rsplit('=', 1)
            yield name, address, quoted, number_at(name, text, address.replace('~', ' '))

def prose(cell):
    "A text cell without markers, code, formulas and links"
    for hidden in (MARKER, re.compile(r'```.*?```', re.S), re.compile(r'`[^`]*`'), re.compile(r'\$[^$]*\$'),
                   re.compile(r'\]\([^)]*\)')):
        cell = hidden.sub(' ', cell)
    return cell

def check_cell(cell, page, printed, read):
    "Raise Wrong where a number is not its file's, or not in the cell; return how many numbers are tied"
    standing, quoted_here = Counter(NUMBER.findall(prose(cell))), Counter()
    for name, address, quoted, there in claims(cell, page, printed, read):
        digits = len(quoted.partition('.')[2])
        if abs(there - float(quoted.replace(',', ''))) > .501*10**-digits:
            raise Wrong(f'{quoted} is {there:.{digits + 2}f} in {name} at {address}')
        quoted_here[quoted] += 1
        if quoted_here[quoted] > standing[quoted]: raise Wrong(f'{quoted} ({name} at {address}) is not in the text')
    if quoted_here:
        loose = [n for n in (standing - quoted_here) if '.' in n]
        if loose: raise Wrong(f"{', '.join(loose)}: no marker says where this comes from")
    return sum(quoted_here.values())

def check(read):
    "(what is wrong, how many numbers are tied); `read` gives a file's text"
    wrong, tied = [], 0
    for page in pages():
        cells, printed = texts(read(page))
        for cell in cells:
            try: tied += check_cell(cell, page, printed, read)
            except (Wrong, OSError) as e: wrong.append(f'{page.relative_to(BOOK)}: {e}')
    return wrong, tied

def pages(): return sorted(p for p in BOOK.rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
def results(): return sorted(p for p in CHECKSUMS.parent.iterdir() if p.suffix in ('.json', '.log', '.csv'))
def sums(read): return ''.join(f'{hashlib.sha256(read(p).encode()).hexdigest()}  {p.name}\n' for p in results())

def other_digit(text, at):
    "A text with one digit changed"
    return text[:at] + str((int(text[at]) + 1) % 10) + text[at+1:]

def proof():
    "Change a digit of every quoted number in the book, and of every file of results; return what went unnoticed"
    missed, tried = [], 0
    for page in pages():
        cells, printed = texts(page.read_text())
        for cell in (c for c in cells if MARKER.search(c)):
            body = MARKER.split(cell)[0]
            quoted = {q for _, _, q, _ in claims(cell, page, printed, Path.read_text)}
            for found in (m for m in NUMBER.finditer(body) if m[0] in quoted and m[0] in prose(body)):
                changed, tried = other_digit(cell, found.end() - 1), tried + 1
                if prose(changed) == prose(cell): continue # in a code block or a formula, where nothing is quoted
                try:
                    check_cell(changed, page, printed, Path.read_text)
                    missed.append(f'{page.name}: {found[0]}')
                except Wrong: pass
    for path in results():
        text = path.read_text()
        for found in re.finditer(r'\d', text):
            tried += 1
            def read(p): return other_digit(text, found.start()) if p == path else p.read_text()
            if hashlib.sha256(read(path).encode()).hexdigest() in CHECKSUMS.read_text():
                missed.append(f'{path.name}: digit {found.start()}')
    return missed, tried

def untied():
    "Decimal numbers of cells without a marker"
    for page in pages():
        for cell in texts(page.read_text())[0]:
            found = [n for n in NUMBER.findall(prose(cell)) if '.' in n]
            if found and not MARKER.search(cell):
                print(f"{page.relative_to(BOOK)}: {' '.join(found)}   ({cell.strip().splitlines()[0][:50]})")

if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ('--prove', '--update', '--untied'): ap.add_argument(option, action='store_true')
    args = ap.parse_args()
    if args.update: CHECKSUMS.write_text(sums(Path.read_text))
    if args.untied: untied()
    if args.prove:
        missed, tried = proof()
        sys.exit('\n'.join(missed) or print(f'{tried} digits changed, each noticed'))
    wrong, tied = check(Path.read_text)
    kept = CHECKSUMS.read_text().splitlines() if CHECKSUMS.exists() else []
    wrong += [f'results/{line.split()[1]}: not as in checksums.txt'
              for line in sums(Path.read_text).splitlines() if line not in kept]
    if wrong: sys.exit('\n'.join(wrong))
    print(f'{tied} numbers in the book are those of the files that they name')
