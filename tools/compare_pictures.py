"""Every system under every protocol, picture by picture: what `compare.py --every --images …` does.

    python tools/compare.py --every --clip photo --images DIR --labels DIR --classes FILE [--limit 20] --json FILE

A tower's trunk is by far the dearest thing that systems have in common, and protocols that read a picture at one size
read the same trunk. So the loop runs over pictures outside, over protocols and systems inside, and what the trunk said
of a window is kept until the next picture. Every (system, protocol) cell has a confusion matrix of its own.

After each picture its matrices are written to a file in --out; a command that was stopped, or that is given with
another --limit, goes on from there. A matrix is known by a fingerprint of everything that it depends on: the bytes of
picture and labels, names and words, weights, protocol, versions, the system's code.

    python tools/compare.py --every --images … --check 2

asks the first two cells a second time in `tcl_eval`'s own way, and fails unless the matrices are equal.
"""
import copy, time
from dataclasses import replace
from pathlib import Path
import numpy as np, torch
from tcl_nb.baselines import SYSTEMS, systems_for
from tcl_nb.benchmarks import folder_benchmark, is_background
from tcl_nb.clip import TextTable
from tcl_nb.core import TclError, fingerprint, writing
from tcl_nb.evaluation import confusion, mean_iou
from tcl_nb.grounder import load_grounder, tower_for
from tcl_nb.protocols import PROTOCOLS, usual_protocol
from tcl_nb.scores import Evaluation, _data_print
from tcl_nb.segmentation import read_words

#: What a tower that is no CLIP keeps of its own under other authors' protocols
OWN_FIELDS = 'mean', 'std', 'templates', 'normalise_first'
RESAMPLED = 1000

class OneTrunk:
    "A tower's `trunk` that remembers what it has read since `clear`"
    def __init__(self,
        trunk, # Function: image [B,3,H,W] → tokens [B,1+L,D]
    ):
        self.trunk, self.read, self.times = trunk, [], 0

    def clear(self): self.read = []
    def __call__(self, image):
        for seen, tokens in self.read:
            if seen.shape == image.shape and torch.equal(seen, image): return tokens
        self.times += 1
        tokens = self.trunk(image)
        self.read.append((image, tokens))
        return tokens

def sharing(clip):
    "(the tower with a trunk that remembers, that trunk)"
    shared = copy.copy(clip)
    trunk = OneTrunk(clip.trunk)
    shared.trunk = trunk
    return shared, trunk

def without(classes, name):
    "A benchmark without one of its classes, whose pixels become void"
    if name not in classes.names: raise TclError(f"no class '{name}'; there are {', '.join(classes.names)}")
    lost = list(classes.names).index(name) + classes.background
    labels = classes.table
    table = np.where((labels > lost) & (labels < 255), labels - 1, labels)
    table[labels == lost] = 255
    kept = [n for n in classes.names if n != name]
    return replace(classes, names=tuple(kept), words={n: classes.words[n] for n in kept}, table=table)

def some(n, limit):
    "`limit` of n indices, evenly spaced; all when `limit` is None or more"
    if limit is None or limit >= n: return list(range(n))
    return [(2*i + 1)*n//(2*limit) for i in range(limit)]

def opened(images, labels, names, only=None, leave_out=(), limit=None):
    "Pictures of one's own as a benchmark; `only`: a file that lists their names, without endings, a line each"
    lines = [name for name in read_words(names) if name != '__ignore__'] or ['']
    own = folder_benchmark(images, labels, names, is_background(lines[0].partition('=')[0]))
    if only:
        listed = Path(only).read_text().split()
        missing = [k for k in listed if k not in own.keys]
        if missing: raise TclError(f"'{only}' lists '{missing[0]}', and '{images}' has no such picture")
        own = own.subset([own.keys.index(k) for k in listed])
    for name in leave_out: own = without(own, name)
    return replace(own.subset(some(len(own), limit)), key=own.title)

def protocols_for(clip, names, key, background):
    "Those that say different things of this benchmark: {name: Protocol}; the tower's own first"
    usual = usual_protocol(clip)
    found = [PROTOCOLS[usual]]
    for name in names:
        if name == usual.removeprefix('small-'): continue
        if usual == 'tcl': found.append(PROTOCOLS[name])
        elif usual == 'small-tcl': found.append(PROTOCOLS[f'small-{name}'])
        else:
            own = PROTOCOLS[usual].facts()
            kept = {field: own[field] for field in OWN_FIELDS}
            found.append(PROTOCOLS[name].changed(name=f'{usual}-{name}', **kept))
    said, out = {}, {}
    for protocol in found:
        silent = ('name',) if background else ('name', 'background', 'threshold')
        facts = str({k: v for k, v in protocol.on(key).facts().items() if k not in silent})
        first = said.setdefault(facts, protocol.name)
        if first == protocol.name: out[first] = protocol
        else: print(f'{protocol.name}: says of {key} what {first} says, and is left out', flush=True)
    return out

def systems_on(clip, archive=None, wanted=None):
    "Names of the systems that this tower can run, or of the wanted ones; of the others a line says why not"
    names = [*systems_for(clip), 'tcl']
    if archive: names += [name for name in SYSTEMS if name.startswith('reco')]
    reasons = {name: 'needs a tower of several blocks' for name in SYSTEMS if name not in names}
    reasons.update({name: 'needs --archive FOLDER' for name in reasons if name.startswith('reco')})
    reasons['groupvit'] = 'has weights and towers of its own; tcl_eval --system groupvit asks it'
    for name in wanted or ():
        if name in reasons: raise TclError(f"system '{name}' cannot take part: it {reasons[name]}")
        if name not in names: raise TclError(f"no system '{name}'; there are {', '.join(names)}")
    if wanted: return wanted
    for name, why in reasons.items(): print(f'{name} is left out: it {why}', flush=True)
    return names

def cells_for(clip, grounder, classes, protocols, systems, archive=None):
    "(system, protocol) → Evaluation, all with one tower and one table of texts for each way to make them"
    tables, weights, cells = {}, {}, {}
    for name, protocol in protocols.items():
        how = protocol.prompts, protocol.normalise_first
        if how not in tables: tables[how] = TextTable.make(clip, (), *how)
        for system in systems:
            options = dict(archive=Path(archive)) if system.startswith('reco') else {}
            cell = Evaluation(system, clip, classes, protocol, grounder, chunk=1, table=tables[how], options=options)
            trained = cell.grounder is not None
            if trained not in weights: weights[trained] = cell.weights # a hash of millions of numbers: once will do
            cell.weights = weights[trained]
            cell.data = '' # in its place each picture's own fingerprint
            cells[system, name] = cell
    return cells

def kept(path):
    "Fingerprint → matrix, of the file that an earlier run left"
    try:
        with np.load(path) as file: return dict(file)
    except (OSError, ValueError, EOFError): return {} # none yet, or cut

def matrices(classes, i, cells, trunk, out):
    "(system, protocol) → [n,n] of one picture; what is known is read, and the rest computed and written"
    one = classes.subset([i])
    about = _data_print(one)
    path = Path(out)/f'{about}.npz'
    names = {cell: fingerprint(evaluation.about, about) for cell, evaluation in cells.items()}
    known = kept(path)
    missing = [cell for cell in cells if names[cell] not in known]
    if missing:
        image, truth = one[0]
        trunk.clear()
        n = len(classes.names) + classes.background
        for cell in missing:
            labeller = cells[cell].labeller
            (best, score), = labeller([image])
            known[names[cell]] = confusion(labeller.labels(best, score).cpu(), truth, n).numpy()
        with writing(path) as aside:
            with open(aside, 'wb') as file: np.savez_compressed(file, **known)
    return {cell: torch.from_numpy(known[names[cell]]).long() for cell in cells}

def summed_up(counts, cells):
    "Rows of a table from {(system, protocol): [P,n,n]}, with what happens to them when pictures are drawn anew"
    pictures = len(next(iter(counts.values())))
    draws = np.random.default_rng(0).multinomial(pictures, [1/pictures]*pictures, size=RESAMPLED)
    draws = torch.from_numpy(draws).double()
    again = {}
    for cell, matrix in counts.items():
        drawn = (draws @ matrix.flatten(1).double()).view(RESAMPLED, *matrix.shape[1:])
        again[cell] = torch.tensor([mean_iou(m) for m in drawn], dtype=torch.float64)
    rows = []
    for (system, protocol), matrix in counts.items():
        total = matrix.sum(0)
        rivals = torch.stack([v for (s, p), v in again.items() if p == protocol])
        others = torch.stack([v for (s, p), v in again.items() if s == system])
        mine = again[system, protocol]
        rows.append(dict(protocol=protocol, system=system, benchmark=cells[system, protocol].classes.key,
                         pictures=pictures, miou=round(mean_iou(total), 2),
                         sd=round(mine.std().item(), 2),
                         accuracy=round(100*total.diag().sum().item()/total.sum().item(), 2),
                         first=round(100*(mine >= rivals.amax(0)).double().mean().item(), 1),
                         best=round(100*(mine >= others.amax(0)).double().mean().item(), 1)))
    return rows

def check(cells, counts, number, classes, plain):
    "Raise `TclError` unless the first cells are what `tcl_eval` finds with the plain tower"
    for (system, name), cell in list(cells.items())[:number]:
        alone = Evaluation(system, plain, classes, cell.stated, cell.grounder, chunk=1, options=cell.options)
        found = alone.run(progress=False).counts
        if not torch.equal(found, counts[system, name].sum(0)):
            raise TclError(f"{system} under {name}: another matrix than tcl_eval's")
        print(f"{system} under {name}: the matrix is tcl_eval's, {found.sum():,} pixels", flush=True)

@torch.no_grad()
def compared(args, names, out):
    "Facts and rows of all systems under all protocols, for pictures of one's own; `args`: compare.py's options"
    if not (args.labels and args.classes): raise TclError('--images needs --labels and --classes')
    weights = args.weights or ['photo' if args.clip == 'photo' else 'tcl']
    if len(weights) > 1: raise TclError('--images takes the weights of one grounder')
    plain = tower_for(weights[0], *([] if args.clip in (None, 'photo') else [args.clip]))
    classes = opened(args.images, args.labels, args.classes, args.only, args.leave_out, args.limit)
    clip, trunk = sharing(plain)
    protocols = protocols_for(clip, names, classes.key, classes.background)
    systems = systems_on(clip, args.archive, args.system)
    cells = cells_for(clip, load_grounder(weights[0], clip), classes, protocols, systems, args.archive)
    Path(out).mkdir(parents=True, exist_ok=True)
    found, start = [], time.time()
    for i, key in enumerate(classes.keys):
        found.append(matrices(classes, i, cells, trunk, out))
        print(f'{i + 1} of {len(classes)}: {key}, {time.time() - start:.0f} s, {trunk.times} trunks', flush=True)
    counts = {cell: torch.stack([one[cell] for one in found]) for cell in cells}
    check(cells, counts, args.check, classes, plain)
    first = next(iter(cells.values()))
    return dict(versions=first.versions, date=time.strftime('%Y-%m-%d'), threads=torch.get_num_threads(),
                names=list(classes.names), pictures=list(classes.keys),
                weights={system: cells[system, next(iter(protocols))].weights for system in systems},
                protocols={name: p.on(classes.key).facts() for name, p in protocols.items()},
                rows=summed_up(counts, cells))

def table(rows):
    "mIoU ± its standard deviation, systems down, protocols across"
    columns = list(dict.fromkeys(row['protocol'] for row in rows))
    told = {(row['system'], row['protocol']): f"{row['miou']:.1f} ± {row['sd']:.1f}" for row in rows}
    lines = [['mIoU, %', *columns]]
    for system in dict.fromkeys(row['system'] for row in rows):
        lines.append([system, *(told[system, column] for column in columns)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return '\n'.join('  '.join(cell.rjust(w) for cell, w in zip(line, widths)) for line in lines)
