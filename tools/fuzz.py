"""Odd inputs, made at random from a seed: tables, shards, label PNGs, command lines, recipes. Nothing may end in a traceback, hang, or
count wrongly (rows in = pairs + counted faults).  python tools/fuzz.py [KIND ...] --seconds 300 --seed 0"""
import argparse, contextlib, csv, io, json, os, random, signal, sys, tarfile, tempfile, time, traceback, warnings
from pathlib import Path
import numpy as np, yaml
from PIL import Image
from tcl_nb.benchmarks import folder_benchmark, read_labels
from tcl_nb.core import TclError
from tcl_nb.evaluation import tcl_eval
from tcl_nb.pairs import Pairs, open_source, plain_transform, tcl_embed
from tcl_nb.segmentation import tcl_segment
from tcl_nb.training import Recipe, read_recipe, recipes, tcl_train

TEXTS = ['a cat', 'a dog, a cake and a tree', 'she said "no"', 'a 5" disk', '"quoted"', "it's; fine", 'two\nlines', 'un café', '猫と犬', 'a|b', '[draft] 2', '{x}', '#1 dad', ' padded ', '-', '0815', 'nan', 'None', '']
NAMES = ['a', 'b.c', '2024-01-01_12.30.05', 'x y', 'é', 'p.1', 'p.2', 'UPPER', 'v1.0/k', 'v1.0/l.m']

def broken(r, data):
    "Bytes with a few things done to them"
    data = bytearray(data)
    for _ in range(r.randint(1, 4)):
        at = r.randrange(len(data) + 1)
        change = r.randrange(4)
        if change == 0: data[at:at+1] = bytes([r.randrange(256)])
        elif change == 1: del data[at:at+r.randint(1, 40)]
        elif change == 2: data[at:at] = r.choice([b'"', b',', b'\n', b'\0', b"'", b'\t', b'\r', b'\xff', b'{', b'[' * 50])
        else: data = data[:at] + data[at:at+20]*2 + data[at+20:]
    return bytes(data)

def picture(colour='red', kind='JPEG', size=(8, 8)):
    out = io.BytesIO()
    Image.new('RGB', size, colour).save(out, kind)
    return out.getvalue()

def count(spec):
    "(rows that a source gives, how many of them are pairs); they must add up with what was counted as faulty"
    rows = len(list(open_source(spec).rows()))
    stream, pairs, before = Pairs(spec, plain_transform(8), 1, lanes=1, shuffle=1), 0, None
    try:
        for batch in stream:
            before = sum(stream.skipped.values()) if before is None else before
            if batch['epoch'].item(): break
            pairs += 1
    except TclError as e:
        assert 'no readable pair' in str(e), e
        return rows, 0
    counted = sum(stream.skipped.values()) - before # those before the first pair come a second time, before the second epoch's first
    assert pairs + counted == rows, f'{rows} rows, but {pairs} pairs and {counted} faults'
    return rows, pairs

def tables(r, folder):
    "csv, tsv, jsonl, json in several encodings; written well, every row must come through, and damaged, nothing may break"
    told = [(f'{i}.jpg', r.choice(TEXTS)) for i in range(r.randint(1, 8))]
    for name, _ in told[:r.randint(1, 8)]: (folder/name).write_bytes(picture())
    kind, ending = r.choice([('csv', ','), ('csv', ';'), ('tsv', '\t'), ('csv', '|'), ('jsonl', ''), ('json', '')]), r.choice(['\n', '\r\n'])
    path, out = folder/f't.{kind[0]}', io.StringIO()
    if kind[0] == 'jsonl': out.write(ending.join(json.dumps(dict(file_name=n, text=t)) for n, t in told))
    elif kind[0] == 'json': out.write(json.dumps(dict(images=[dict(filename=n, sentences=[dict(raw=t)]) for n, t in told])))
    else: csv.writer(out, delimiter=kind[1], lineterminator=ending).writerows([('image', 'caption'), *told])
    data = out.getvalue().encode(r.choice(['utf-8', 'utf-8-sig', 'utf-16']))
    whole = r.random() < .5
    path.write_bytes(data if whole else broken(r, data))
    rows, pairs = count(f'csv:{path}')
    if not whole: return
    assert rows == len(told), f'{len(told)} rows were written, and {rows} read'
    usable = [t for n, t in told if (folder/n).exists() and t.strip() not in ('', '-', '0815', 'nan', 'None')]
    assert pairs == len(usable), f'{len(usable)} pairs were written, and {pairs} read'

def shards(r, folder):
    "tar files with names, sidecars and hidden files of all kinds"
    names = r.sample(NAMES, r.randint(1, 6))
    members = []
    for name in names:
        files = [(f'{name}.jpg', picture()), r.choice([(f'{name}.txt', b'a cat'), (f'{name}.json', b'{"caption": "a cat"}')])]
        files += r.sample([(f'{name}.seg.png', picture('blue', 'PNG')), (f'{name}.cls', b'3')], r.randint(0, 2))
        members += sorted(files) if r.random() < .7 else r.sample(files, len(files))
        if r.random() < .3: members.append((f'._{name}.jpg'.replace('v1.0/', ''), b'?'))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    whole = r.random() < .5
    (folder/'0.tar').write_bytes(out.getvalue() if whole else broken(r, out.getvalue()))
    rows, pairs = count(f'wds:{folder}')
    if whole: assert (rows, pairs) == (len(names), len(names)), f'{len(names)} pairs were written; {rows} rows, {pairs} pairs were read'

def labels(r, folder):
    "Label PNGs of all modes: the numbers that were written, or a line"
    rng = np.random.default_rng(r.randrange(2**32))
    numbers = rng.integers(0, r.choice([2, 4, 256]), (r.randint(1, 9), r.randint(1, 9))).astype(np.uint8)
    mode = r.choice(['L', 'P', 'I;16', '1', 'RGB', 'LA'])
    made = Image.fromarray(numbers.astype(np.uint16)*r.choice([1, 200])) if mode == 'I;16' else Image.fromarray(numbers)
    if mode == 'P': made.putpalette(bytes(range(256))*3)
    elif mode in ('1', 'RGB', 'LA'): made = made.convert(mode)
    for name in ('pictures', 'labels'): (folder/name).mkdir()
    made.save(folder/'labels'/'a.png')
    Image.new('RGB', made.size).save(folder/'pictures'/'a.png')
    if r.random() < .4: (folder/'labels'/'a.png').write_bytes(broken(r, (folder/'labels'/'a.png').read_bytes()))
    elif mode in ('L', 'P'): assert (read_labels(folder/'labels'/'a.png') == numbers).all(), 'other numbers than were written'
    names = ['background', *'abc'][:r.randint(2, 4)]
    own = folder_benchmark(folder/'pictures', folder/'labels', names, r.random() < .5, zero=r.choice(['class', 'ignored']))
    _, found = own[0]
    assert found.numel() == made.size[0]*made.size[1] and all(0 <= k < len(own.names) + own.background or k == 255 for k in found.unique().tolist())

def called(command, argv):
    "A command must end by itself, with one line for a mistake"
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try: command(argv); code = 0
        except SystemExit as e: code = e.code or 0
    lines = said.getvalue().strip().splitlines()
    assert code in (0, 1, 2), f'{argv}: exit code {code}'
    assert code != 2 or len([line for line in lines if line.startswith(command.__name__ + ': ')]) >= 1 and 'Traceback' not in said.getvalue(), f'{argv}: {lines[-3:]}'

def lines(r, folder):
    "Command lines of options and words in any order"
    os.chdir(folder)
    (folder/'p.png').write_bytes(picture('green', 'PNG', (20, 14)))
    (folder/'cut.png').write_bytes((folder/'p.png').read_bytes()[:40])
    words = ['p.png', 'cut.png', 'none.png', '*.png', '.', 'cat', 'cat,dog', 'person=man,woman', '=', ',', '', 'é\udce9', '猫', '--', '-1', 'Cat', '--words', 'x=', 'a=b=c', '\n', 'hedgehog', 'cake', '/', '0', 'nul\0']
    options = [['--model', 'small'], ['--model', 'none.pth'], ['--save', r.choice(['labels', 'coco,npz', 'gif', ''])], ['--background', r.choice(['none', '.3', 'sky,wall', '-1', 'nan'])], ['--short', r.choice(['64', '0', 'x'])],
               ['--no-such'], ['--out', r.choice(['o', '', 'p.png', '007'])], ['--device', r.choice(['cpu', 'meta', 'gpu'])], ['--overwrite']]
    argv = [['--model', 'small'], *([w] for w in r.sample(words, r.randint(0, 4))), *r.sample(options, r.randint(0, 3))]
    r.shuffle(argv)
    called(tcl_segment, sum(argv, []))
    fields = ['short=64', 'short=0', 'pamr=false', 'x', 'scale=nan', 'blend=', 'names=none', 'templates=[]', 'background=null', 'only=3', 'stride=1e99', 'mean=1']
    called(tcl_eval, ['--show', '--set', *r.sample(fields, r.randint(1, 3)), *r.choice([[], ['--benchmark', 'voc'], ['--images', '.'], ['--protocol', 'x'], ['--limit', '-1']])])
    called(tcl_train, ['--show', r.choice(['small', 'none', 'p.png', '.']), *[change(r) for _ in range(r.randint(0, 4))]])
    called(tcl_embed, r.sample(['csv:p.png', 'wds:.', 'folder:.', 'parquet:*', 'hub:', 'x', '--clip', 'small', '--out', 'o/x', '--batch', '0'], r.randint(0, 6)))

def change(r):
    "key=value, more or less"
    key = r.choice([*Recipe.__dataclass_fields__, 'x', '', 'out', 'sources'])
    return key + r.choice(['=', '=', '=', '']) + r.choice(['1', '-1', '1e400', 'nan', 'null', '[', '{a: 1}', '[1, [2]]', '*x', '!!python/name:os.system', 'yes', '007', '12:30', ' ', '"', "'a", 'a: b: c', '&a [*a]', '\t', '🙂', '0x1f', '.inf', '2024-01-01'])

def recipe_files(r, folder):
    "Recipes: a Recipe or a line"
    text = yaml.safe_dump({r.choice([*Recipe.__dataclass_fields__, 'x']): r.choice([1, -1, 0.5, None, 'a', [], {}, True, [1], {'a': 1}, '1e-3', 10**30]) for _ in range(r.randint(0, 5))})
    known = r.choice(list(recipes().values())).read_bytes()
    (folder/'r.yaml').write_bytes(r.choice([text.encode(), known, broken(r, known), broken(r, text.encode()), b'[' * 400, b'&a [*a, *a]', b'a: &a [*a]\n']))
    made = read_recipe(str(folder/'r.yaml'), [change(r) for _ in range(r.randint(0, 2))])
    assert isinstance(made, Recipe)

KINDS = dict(tables=tables, shards=shards, labels=labels, lines=lines, recipes=recipe_files)

def one(kind, seed):
    "One input; raises what isn't a TclError"
    def too_long(*_): raise TimeoutError('it takes longer than 30 seconds')
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(30)
    here = os.getcwd()
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try: KINDS[kind](random.Random(f'{kind} {seed}'), Path(folder))
            except TclError as e: assert '\n' not in str(e).strip(), f'more than one line: {e!r}'
            finally: os.chdir(here)
    finally: signal.alarm(0)

def main():
    ap = argparse.ArgumentParser(description='Odd inputs, made at random from a seed')
    ap.add_argument('kinds', nargs='*', default=[], metavar='KIND', help=', '.join(KINDS))
    ap.add_argument('--seconds', type=float, default=10., help='for all kinds together (default: %(default)s)')
    ap.add_argument('--seed', type=int, default=0, help='the first input; the next one has the next seed')
    ap.add_argument('--most', type=int, default=5, help='faults of a kind to show')
    args = ap.parse_args()
    failed = 0
    for kind in args.kinds or KINDS:
        end, seed, wrong = time.time() + args.seconds/len(args.kinds or KINDS), args.seed, 0
        while time.time() < end and wrong < args.most:
            try: one(kind, seed)
            except Exception as e:
                wrong += 1
                print(f'{kind}, seed {seed}: {type(e).__name__}: {e}', *traceback.format_exc(limit=-2).splitlines()[1:-1], sep='\n', flush=True)
            seed += 1
        print(f'{kind}: {seed - args.seed} inputs from seed {args.seed}, {wrong} faults', flush=True)
        failed += wrong
    sys.exit(failed > 0)

if __name__ == '__main__': main()
