"""Odd inputs, made at random from a seed: tables, shards, label PNGs, command lines, recipes.

    python tools/fuzz.py [KIND ...] --seconds 300 --seed 0 --log FILE

Nothing may end in a traceback, hang, or count wrongly (rows in = pairs + counted faults).
"""
import argparse, contextlib, csv, io, json, os, platform, random, signal
import sys, tarfile, tempfile, time, traceback, warnings
from pathlib import Path
import numpy as np, torch, yaml
from PIL import Image
from tcl_nb.align import tcl_align
from tcl_nb.benchmarks import folder_benchmark, read_labels
from tcl_nb.prepare import tcl_prepare
from tcl_nb.core import TclError
from tcl_nb.evaluate import tcl_eval
from tcl_nb.tally import count as counted
from tcl_nb.export import tcl_export
from tcl_nb.pairs import Pairs, open_source, plain_transform
from tcl_nb.captions import tcl_embed
from tcl_nb.segment import tcl_segment
from tcl_nb.recipe import Recipe, read_recipe, recipes
from tcl_nb.runs import tcl_train
from tcl_nb import __version__

TEXTS = ['a cat', 'a dog, a cake and a tree', 'she said "no"', 'a 5" disk', '"quoted"', "it's; fine", 'two\nlines',
         'un café', '猫と犬', 'a|b', '[draft] 2', '{x}', '#1 dad', ' padded ', '-', '0815', 'nan', 'None', '']
NAMES = ['a', 'b.c', '2024-01-01_12.30.05', 'x y', 'é', 'p.1', 'p.2', 'UPPER', 'v1.0/k', 'v1.0/l.m']

def broken(r, data):
    "Bytes with a few things done to them"
    data = bytearray(data)
    for _ in range(r.randint(1, 4)):
        at = r.randrange(len(data) + 1)
        change = r.randrange(4)
        if change == 0: data[at:at+1] = bytes([r.randrange(256)])
        elif change == 1: del data[at:at+r.randint(1, 40)]
        elif change == 2:
            data[at:at] = r.choice([b'"', b',', b'\n', b'\0', b"'", b'\t', b'\r', b'\xff', b'{', b'[' * 50])
        else: data = data[:at] + data[at:at+20]*2 + data[at+20:]
    return bytes(data)

def picture(colour='red', kind='JPEG', size=(8, 8)):
    out = io.BytesIO()
    Image.new('RGB', size, colour).save(out, kind)
    return out.getvalue()

def count(spec, **columns):
    """(rows that a source gives, the pairs among them as (key,
    caption)); they must add up with what was counted as faulty"""
    rows = len(list(open_source(spec, **columns).rows()))
    stream, pairs, before = Pairs(spec, plain_transform(8), 1, lanes=1, shuffle=1, **columns), [], None
    try:
        for batch in stream:
            before = sum(stream.skipped.values()) if before is None else before
            if batch['epoch'].item(): break
            pairs.append((batch['key'][0], batch['caption'][0]))
    except TclError as e:
        assert 'no readable pair' in str(e), e
        return rows, []
    # those before the first pair come a second time, before the second epoch's first
    faults = sum(stream.skipped.values()) - before
    assert len(pairs) + faults == rows, f'{rows} rows, but {len(pairs)} pairs and {faults} faults'
    return rows, pairs

def usable(text): return text.strip() not in ('', '-', '0815', 'nan', 'None')
def clean(text): return ' '.join(text.split())

def told(r, i, there, lines):
    "A row: (picture's name, captions, those that a pair may have)"
    name = r.choice([f'{i}.jpg']*8 + ['gone.jpg', 'bad.jpg', ''])
    texts = [r.choice([t for t in TEXTS if lines or '\n' not in t]) for _ in range(r.choice([1, 1, 1, 2]))]
    good = name not in ('gone.jpg', 'bad.jpg', '') and name in there
    return name, texts, [clean(t) for t in texts if usable(t)] if good else []

ORDERS = ['image', 'caption'], ['id', 'image', 'caption'], ['caption', 'image'], ['image', 'caption', 'caption']

def as_csv(r, rows, mark, ending):
    """(text of a table, what each row may give): rows as a program writes
    them, and as people do: quotes forgotten, too short, quotes left open"""
    names = {'image': r.choice(['image', 'Image', 'file_name', 'filepath', 'IMAGE_PATH']),
             'caption': r.choice(['caption', 'Caption', 'text', 'title', 'comment'])}
    order, quoting = r.choice(ORDERS), r.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    out, wanted = io.StringIO(), []
    write = csv.writer(out, delimiter=mark, lineterminator=ending, quoting=quoting).writerow
    if r.random() < .1: out.write(f'sep={mark}{ending}')
    write([names.get(k, k) for k in order])
    by_hand = all('\n' not in t for _, texts, _ in rows for t in texts)
    for i, (name, texts, good) in enumerate(rows):
        texts = [texts[0], texts[-1]][:order.count('caption')]
        kind = r.choice(['', '', '', 'commas', 'open', 'short']) if by_hand else ''
        if kind == 'short' and (order[0] == 'caption' or not name): kind = '' # an empty line is no row
        text, may = by_hand_text(kind, mark, order, texts)
        fields = [{'id': str(i), 'image': name}.get(k) for k in order if k != 'caption']
        if kind == 'short': out.write(mark.join(fields) + ending)
        elif kind: out.write(mark.join([text, *fields] if order[0] == 'caption' else [*fields, text]) + ending)
        else: write([*texts, *fields] if order[0] == 'caption' else [*fields, *texts])
        whole = bool(name) and name not in ('gone.jpg', 'bad.jpg') and name in told.there
        wanted.append(may if whole else [])
        if r.random() < .05: out.write(ending)
    return out.getvalue(), wanted

def by_hand_text(kind, mark, order, texts):
    "(what a careless hand writes for the captions, the captions that this may give)"
    commas = f'a dog{mark} a cake{mark}{mark} a tree'
    if kind == 'open': return '"a dog', ['a dog']
    if kind == 'commas':
        return commas, [clean(commas)] if order[-2:] != ['caption', 'caption'] and order[-1] == 'caption' else []
    return '', [] if kind == 'short' else [clean(t) for t in texts if usable(t)]

def as_json(r, rows, kind):
    "The same in json's forms"
    forms = [lambda n, t: dict(file_name=n, text=t), lambda n, t: dict(Image=n, captions=[None, *t]),
             lambda n, t: dict(filename=n, sentences=[dict(raw=x, tokens=[]) for x in t]),
             lambda n, t: dict(image=n, caption=json.dumps(t))]
    form = r.choice(forms)
    made = [form(n, t) for n, t, _ in rows]
    if kind == 'jsonl':
        return r.choice(['\n', '\r\n', '\n\n']).join(json.dumps(m, ensure_ascii=r.random() < .5) for m in made)
    if kind == 'coco':
        return json.dumps(dict(images=[dict(id=i, file_name=n) for i, (n, _, _) in enumerate(rows)],
                               annotations=r.sample(notes := [dict(image_id=i, caption=t)
                                   for i, (_, ts, _) in enumerate(rows) for t in ts], len(notes))))
    return json.dumps(r.choice([made, dict(version=1, images=made)]))

def tables(r, folder):
    """csv, tsv, jsonl, json in several encodings; every row that was written must come
    through with its own caption or be counted, and damaged, nothing may break"""
    number = r.randint(1, 12)
    told.there = {f'{i}.jpg' for i in range(number) if r.random() < .8}
    for name in told.there: (folder/name).write_bytes(picture())
    (folder/'bad.jpg').write_bytes(r.choice([b'', b'no picture', picture()[:200]]))
    kind, lines = r.choice([('csv', ','), ('csv', ';'), ('tsv', '\t'), ('csv', '|'), ('jsonl', ''), ('ndjson', ''),
                            ('json', ''), ('coco', '')]), r.random() < .3
    rows = [told(r, i, told.there, lines) for i in range(number)]
    if kind[1]: text, wanted = as_csv(r, rows, kind[1], r.choice(['\n', '\r\n']))
    else: text, wanted = as_json(r, rows, 'jsonl' if kind[0] == 'ndjson' else kind[0]), [good for _, _, good in rows]
    path = folder/f't.{"json" if kind[0] == "coco" else kind[0]}'
    codes = ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32', 'cp1252']
    code = r.choice([c for c in codes if c != 'cp1252' or text.isascii() or not any(ord(c) > 255 for c in text)])
    if code[-2:] in ('le', 'be') and not text[:200].isascii(): code = 'utf-16'
    data, whole = text.encode(code), r.random() < .6
    path.write_bytes(data if whole else broken(r, data))
    found, pairs = count(f'csv:{path}')
    if not whole: return
    usual = kind[0] != 'coco' or any(clean(t) and t not in ('nan', 'None') for _, ts, _ in rows for t in ts)
    assert not usual or found == len(rows), f'{len(rows)} rows were written, and {found} read'
    expected = [(rows[i][0], w) for i, w in enumerate(wanted) if w]
    assert [k for k, _ in pairs] == [k for k, _ in expected], f'pairs of {expected} were written, and {pairs} read'
    for (key, caption), (_, may) in zip(pairs, expected): assert caption in may, f'{key}: {caption!r} is none of {may}'

def shard_of(r, names):
    "(members of a tar, name → caption): pairs with sidecars and hidden files, those of a pair side by side"
    members, captions = [], {}
    for i, name in enumerate(names):
        captions[name] = f'a cat of {"abcdefghij"[i]}'
        files = [(f'{name}.{r.choice(["jpg", "JPG", "jpeg"])}', picture()),
                 r.choice([(f'{name}.txt', captions[name].encode()),
                           (f'{name}.json', json.dumps(dict(text=captions[name], id=i)).encode())])]
        files += r.sample([(f'{name}.seg.png', picture('blue', 'PNG')), (f'{name}.cls', b'3'),
                           (f'{name}.depth.npy', b'?')], r.randint(0, 2))
        members += sorted(files) if r.random() < .7 else r.sample(files, len(files))
        if r.random() < .3:
            members.append((r.choice([f'._{name}.jpg'.replace('v1.0/', ''), '__MACOSX/._x.jpg', '.DS_Store']), b'?'))
    return members, captions

def shards(r, folder):
    """tar files with names, sidecars and hidden files of all kinds, in and
    out of order: no pair may have another's caption, and no file be lost"""
    names = r.sample(NAMES, r.randint(1, 8))
    members, captions = shard_of(r, names)
    way = r.choice(['whole', 'whole', 'broken', 'shuffled', 'sorted by ending', 'lost'])
    if way == 'shuffled': r.shuffle(members)
    elif way == 'sorted by ending': members.sort(key=lambda m: m[0].rpartition('.')[2])
    elif way == 'lost': members = [m for m in members if r.random() < .7]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w',
                      format=r.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (folder/'0.tar').write_bytes(out.getvalue() if way != 'broken' else broken(r, out.getvalue()))
    rows, pairs = count(f'wds:{folder}')
    if way == 'broken': return
    for key, caption in pairs: assert captions.get(key) == caption, f'{key} has the caption {caption!r}'
    assert len(dict(pairs)) == len(pairs), f'a pair comes twice: {pairs}'
    if way == 'whole':
        assert (rows, dict(pairs)) == (len(names), captions), f'{captions} were written; {rows} rows, {pairs} were read'
    if way != 'lost': assert rows >= len(names), f'{len(names)} pairs were written, in some order, and {rows} rows read'

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
    elif mode in ('L', 'P'):
        assert (read_labels(folder/'labels'/'a.png') == numbers).all(), 'other numbers than were written'
    names = ['background', *'abc'][:r.randint(2, 4)]
    own = folder_benchmark(folder/'pictures', folder/'labels', names, r.random() < .5,
                           zero=r.choice(['class', 'ignored']))
    _, found = own[0]
    known = {*range(len(own.names) + own.background), 255}
    assert found.numel() == made.size[0]*made.size[1] and known.issuperset(found.unique().tolist())
    check_count(own, rng)

class Guesses:
    "Answers at random in place of a system, and what they are"
    def __init__(self, own, rng): self.classes, self.rng, self.given = len(own.names) + own.background, rng, []
    def __call__(self, images):
        self.given += [self.rng.integers(0, self.classes, image.shape[1:]) for image in images]
        return [(torch.from_numpy(g), None) for g in self.given[-len(images):]]
    def labels(self, best, score): return best

def check_count(own, rng):
    "The confusion matrix must be the one that a loop over pixels gives, of the numbers in the file itself"
    guesses = Guesses(own, rng)
    matrix = counted(guesses, own, progress=False).matrix.numpy()
    numbers, right = read_labels(own.items[0][1]), np.zeros_like(matrix)
    for number, guess in zip(numbers.flatten().tolist(), guesses.given[0].flatten().tolist()):
        label = own.table[min(number, len(own.table) - 1)]
        if label != 255: right[label, guess] += 1
    assert (matrix == right).all(), 'another count than pixel by pixel'
    zero, names = own.table[0], len(own.names) + own.background
    shifted = [k - (zero == 255) for k in range(1, names)]
    assert zero in (0, 255) and own.table[1:names].tolist() == shifted, 'labels are shifted'

def called(command, argv):
    "A command must end by itself, with one line for a mistake"
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            command(argv)
            code = 0
        except SystemExit as e: code = e.code or 0
    lines = said.getvalue().strip().splitlines()
    assert code in (0, 1, 2), f'{argv}: exit code {code}'
    assert not isinstance(code, str) and (code != 2
        or len([line for line in lines if line.startswith(command.__name__ + ': ')]) >= 1
                                          and 'Traceback' not in said.getvalue()), f'{argv}: {lines[-3:]}'
    return code

def lines(r, folder):
    "Command lines of options and words in any order"
    os.chdir(folder)
    (folder/'p.png').write_bytes(picture('green', 'PNG', (20, 14)))
    (folder/'cut.png').write_bytes((folder/'p.png').read_bytes()[:40])
    words = ['p.png', 'cut.png', 'none.png', '*.png', '.', 'cat', 'cat,dog', 'person=man,woman', '=', ',', '',
             'é\udce9', '猫', '--', '-1', 'Cat', '--words', 'x=', 'a=b=c', '\n', 'hedgehog', 'cake', '/', '0', 'nul\0',
             'day3/', '~/x', 'x.heic', 'cat;dog', 'Cat', 'hot  dog', '猫，狗', '[', '**', 'a/b']
    options = [['--model', 'small'], ['--model', 'none.pth'], ['--save', r.choice(['labels', 'coco,npz', 'gif', ''])],
               ['--background', r.choice(['none', '.3', 'sky,wall', '-1', 'nan'])],
               ['--short', r.choice(['64', '0', 'x'])],
               ['--no-such'], ['--out', r.choice(['o', '', 'p.png', '007'])],
               ['--device', r.choice(['cpu', 'meta', 'gpu'])], ['--overwrite']]
    argv = [['--model', 'small'], *([w] for w in r.sample(words, r.randint(0, 4))), *r.sample(options, r.randint(0, 3))]
    r.shuffle(argv)
    code, argv = called(tcl_segment, sum(argv, [])), sum(argv, [])
    if code == 0 and '--out' not in argv and '--save' not in argv:
        assert list(Path('masks').rglob('*_labels.png')), f'{argv}: it ended well, and nothing was written'
    fields = ['short=64', 'short=0', 'pamr=false', 'x', 'scale=nan', 'blend=', 'names=none', 'templates=[]',
              'background=null', 'only=3', 'stride=1e99', 'mean=1']
    called(tcl_eval, ['--show', '--set', *r.sample(fields, r.randint(1, 3)),
                      *r.choice([[], ['--benchmark', 'voc'], ['--images', '.'], ['--protocol', 'x'],
                                 ['--limit', '-1']])])
    called(tcl_train, ['--show', r.choice(['small', 'none', 'p.png', '.']),
                       *[change(r) for _ in range(r.randint(0, 4))]])
    called(tcl_embed, r.sample(['csv:p.png', 'wds:.', 'folder:.', 'parquet:*', 'hub:', 'x', '--clip', 'small', '--out',
                                'o/x', '--batch', '0'], r.randint(0, 6)))
    called(tcl_prepare, r.sample(['voc', 'context', 'camvid', 'x', 'all', '--check', '--data', '.', 'none', '--split',
                                  'train', '--workers', '0'], r.randint(0, 5)))
    called(tcl_export, r.sample(['small', 'p.png', '.', '--format', 'gif', '--size', '0', '64', '--words', 'cat', '=',
                                 '--out', 'p.png', '--no'], r.randint(0, 2)) + ['--size', 'x', '1'])
    called(tcl_align, ['--show', r.choice(['photo', 'own', 'none', 'p.png']),
                       *[change(r) for _ in range(r.randint(0, 3))]])

def change(r):
    "key=value, more or less"
    key = r.choice([*Recipe.__dataclass_fields__, 'x', '', 'out', 'sources'])
    values = ['1', '-1', '1e400', 'nan', 'null', '[', '{a: 1}', '[1, [2]]', '*x', '!!python/name:os.system', 'yes',
              '007', '12:30', ' ', '"', "'a", 'a: b: c', '&a [*a]', '\t', '🙂', '0x1f', '.inf', '2024-01-01']
    return key + r.choice(['=', '=', '=', '']) + r.choice(values)

def recipe_files(r, folder):
    "Recipes: a Recipe or a line"
    text = yaml.safe_dump({r.choice([*Recipe.__dataclass_fields__, 'x']): r.choice([1, -1, 0.5, None, 'a', [], {}, True,
        [1], {'a': 1}, '1e-3', 10**30]) for _ in range(r.randint(0, 5))})
    known = r.choice(list(recipes().values())).read_bytes()
    (folder/'r.yaml').write_bytes(r.choice([text.encode(), known, broken(r, known), broken(r, text.encode()),
                                            b'[' * 400, b'&a [*a, *a]', b'a: &a [*a]\n']))
    made = read_recipe(str(folder/'r.yaml'), [change(r) for _ in range(r.randint(0, 2))])
    assert isinstance(made, Recipe)
    typed = ''.join(r.choice('0123456789abcxyz_-./:#~ ') for _ in range(r.randint(1, 12)))
    for key in ('out', 'clip', 'image_column'): # texts are taken as they are typed
        said = getattr(read_recipe('small', [f'{key}={typed}']), key)
        assert said == (None if key == 'image_column' and typed == '~' else typed), f'{key}={typed} became {said!r}'
    again = read_recipe('small', [f'steps={(number := r.randint(1, 999)):03}'])
    assert again.steps == number, f'steps={number:03} became {again.steps}'

KINDS = dict(tables=tables, shards=shards, labels=labels, lines=lines, recipes=recipe_files)

class TooLong(BaseException):
    "No Exception: nothing on the way may take it for a fault of the input"

def one(kind, seed):
    "One input; raises what isn't a TclError"
    def too_long(*_): raise TooLong('it takes longer than 30 seconds')
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
    ap.add_argument('--log', type=Path, help='a file to which the lines are added, too')
    args = ap.parse_args()
    failed, said = 0, []
    def say(line):
        said.append(line)
        print(line, flush=True)
    say(f'{time.strftime("%Y-%m-%d")}: tcl_nb {__version__}, Python {platform.python_version()}, torch '
        f'{torch.__version__}, {sys.platform}; python tools/fuzz.py {" ".join(sys.argv[1:])}')
    for kind in args.kinds or KINDS:
        end, seed, wrong = time.time() + args.seconds/len(args.kinds or KINDS), args.seed, 0
        while time.time() < end and wrong < args.most:
            try: one(kind, seed)
            except (Exception, TooLong) as e:
                wrong += 1
                say(f'{kind}, seed {seed}: {type(e).__name__}: {e}')
                print(*traceback.format_exc(limit=-2).splitlines()[1:-1], sep='\n', flush=True)
            seed += 1
        say(f'{kind}: {seed - args.seed} inputs from seed {args.seed}, {wrong} faults')
        failed += wrong
    if args.log:
        with args.log.open('a') as f: f.writelines(line + '\n' for line in said)
    sys.exit(failed > 0)

if __name__ == '__main__': main()
