"""Does a single word gain from words that it competes with? Masks of one word at a time, with rivals and without.

    python tools/measure_contrast.py small [--scenes 100] [--json nbs/results/contrast.json]
    python tools/measure_contrast.py photo --photos FOLDER [--scenes 100] [--json nbs/results/contrast.json]

After test-time contrastive concepts (Wysoczanska et al., 2024, arXiv 2407.05061): whoever asks for one word alone
leaves the others that are in the picture unsaid. Rivals are taken from the tower's own vocabulary: the k words
whose embeddings are nearest to the word's, but not nearer than a cosine `most`, from which on a word counts as a
synonym. A pixel is the word's if its score exceeds the background threshold and the scores of all rivals.

Every word that a picture shows is asked for by itself; its mask's IoU is averaged over all such questions.
Threshold, `most` and k are chosen on validation pictures, for questions without rivals the threshold alone, and
reported on test pictures with the standard error of the difference. `there` is a bound and not a method: the rivals
are the names of what else the picture shows. `far`: as many words, those farthest away. On the small world: the
validation set and the four test sets. On photographs: `coco` of FOLDER, as tools/measure_photographs.py wants it.
Results are added to the json.
"""
import argparse, json, platform, statistics, sys, time
from pathlib import Path
import torch, torch.nn.functional as F
from tqdm.auto import tqdm
from tcl_nb import __version__
from tcl_nb.benchmarks import folder_benchmark
from tcl_nb.core import writing
from tcl_nb.evaluation import class_labels
from tcl_nb.segmentation import Segmenter
from tcl_nb.smallworld import SmallWorld

#: Words of a vocabulary that name nothing one could see
FUNCTION = set('''a about above after again all along also although am an and another any are around as at back be
because been before behind being below beside between both but by can could did do does doing down
during each either else even ever every few for from front had has have having he her here hers him
his how i if in into is it its just let like made make many may me might more most much must my near
never next no none nor not now of off on once one only or other our out over own pair per picture
drawing scene photo image said same see shall she should since so some still such than that the
their them then there these they this those three through to too toward two under until up upon us
very was we well were what when where which while who whom whose why will with within without would
yet you your'''.split())
MOST = .5, .6, .7, .8, .9 # Cosine above which a word is a synonym
HOW_MANY = 1, 3, 10 # Rivals
THRESHOLDS = [t/20 for t in range(11)]

def vocabulary(clip):
    "Whole words of a tower's vocabulary, but for those that name nothing"
    return [w for w in clip.tokenizer.words if w.isascii() and w.isalpha() and len(w) > 2 and w not in FUNCTION]

class Rivals:
    "Which words compete with a word"
    def __init__(self, table, words):
        self.table, self.words, self.text, self.known = table, words, table.rows(words), {}

    def ranked(self, word):
        "[(cosine, word)] of the vocabulary, the nearest first"
        if word not in self.known:
            cosine = self.text @ self.table.rows(word)[0]
            order = cosine.argsort(descending=True).tolist()
            self.known[word] = [(cosine[i].item(), self.words[i]) for i in order if self.words[i] != word]
        return self.known[word]

    def __call__(self, word, most, k): return [w for c, w in self.ranked(word) if c < most][:k]
    def farthest(self, word, k): return [w for _, w in self.ranked(word)[-k:]]

def variants(rivals, word, there):
    "{name of a variant: the rivals of a word} where a picture shows some other words"
    near = {f'near {most} {k}': rivals(word, most, k) for most in MOST for k in HOW_MANY}
    return {'alone': [], 'there': there, **{f'far {k}': rivals.farthest(word, k) for k in HOW_MANY}, **near}

def asked(segmenter, rivals, image, truths):
    "{variant: [[IoU at each threshold] of each word]} of a picture, where `truths` are the words' true masks [H,W]"
    tries = {word: variants(rivals, word, [w for w in truths if w != word]) for word in truths}
    words = list(dict.fromkeys([*truths, *(w for ways in tries.values() for others in ways.values() for w in others)]))
    maps = segmenter.segment(image, {w: [w] for w in words}).scores[:, None]
    size = next(iter(truths.values())).shape
    scores = {w: F.interpolate(m[None], size=size, mode='bilinear')[0, 0] for w, m in zip(words, maps)}
    out = {}
    for word, ways in tries.items():
        for name, others in ways.items():
            most = torch.stack([scores[w] for w in others]).amax(0) if others else torch.full(size, -1.)
            won = scores[word] > most
            masks, true = [won & (scores[word] > t) for t in THRESHOLDS], truths[word]
            out.setdefault(name, []).append([((m & true).sum()/(m | true).sum()).item() for m in masks])
    return out

def small_set(key, n):
    "(picture, {word: true mask}) of the small world"
    world = SmallWorld.load()
    split = world.split(key)
    scenes = world.scenes(split, n)
    for image, labels in zip(scenes.image, class_labels(scenes.labels, world, split)):
        numbered = enumerate(split.names, int(split.background))
        yield image, {name: labels == i for i, name in numbered if (labels == i).any()}

def photo_set(folder, part, n, least=.01):
    "The same of photographs; words that cover less than a share of the picture are not asked for"
    root = folder/'coco'
    classes = folder_benchmark(root/'images', root/'labels', root/'classes.txt')
    for key in (root/f'{part}.txt').read_text().split()[:n]:
        image, labels = classes[classes.keys.index(key)]
        covered = {name: labels == j for j, name in enumerate(classes.names)}
        yield image, {name: mask for name, mask in covered.items() if mask.float().mean() >= least}

def measured(segmenter, rivals, pictures, n, title):
    "{variant: [[IoU at each threshold] of each question]}, and the picture that each question is of"
    found, owner = {}, []
    for number, (image, truths) in enumerate(tqdm(pictures, total=n, desc=title)):
        if not truths: continue
        for name, rows in asked(segmenter, rivals, image, truths).items(): found.setdefault(name, []).extend(rows)
        owner += [number]*len(truths)
    return {name: torch.tensor(rows) for name, rows in found.items()}, torch.tensor(owner)

def best(found, names):
    "The variant and threshold that are best on the validation pictures"
    name = max(names, key=lambda n: found[n].mean(0).max())
    return name, int(found[name].mean(0).argmax())

def compared(found, owner, alone, other):
    "Mean IoU in percent of two choices, and the difference with its standard error over pictures"
    a, b = (100*found[name][:, t] for name, t in (alone, other))
    mine = [(b - a)[owner == i].mean().item() for i in owner.unique()]
    return dict(iou=round(b.mean().item(), 3), gain=round((b - a).mean().item(), 3),
                error=round(statistics.stdev(mine)/len(mine)**.5, 3))

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('model', choices=['small', 'photo'])
    ap.add_argument('--photos', type=Path)
    ap.add_argument('--scenes', type=int, default=100)
    ap.add_argument('--json', type=Path, default=Path('nbs/results/contrast.json'))
    args = ap.parse_args()
    segmenter = Segmenter.from_pretrained(args.model, device='cpu')
    rivals = Rivals(segmenter.table, vocabulary(segmenter.clip))
    def pictures(key):
        return small_set(key, args.scenes) if args.model == 'small' else photo_set(args.photos, key, args.scenes)
    val, _ = measured(segmenter, rivals, pictures('val'), args.scenes, 'val')
    kinds = {kind: [n for n in val if n.startswith(kind)] for kind in ('alone', 'near', 'far', 'there')}
    chosen = {kind: best(val, names) for kind, names in kinds.items()}
    curve = {n: [round(100*v, 3) for v in val[n].mean(0).tolist()] for n in val}
    tests = {}
    for key in ('seen', 'new_words', 'new_designs', 'stuff') if args.model == 'small' else ('test',):
        found, owner = measured(segmenter, rivals, pictures(key), args.scenes, key)
        tests[key] = dict(questions=len(owner), pictures=len(owner.unique()),
                          **{kind: compared(found, owner, chosen['alone'], way) for kind, way in chosen.items()})
    versions = dict(tcl_nb=__version__, torch=torch.__version__, python=platform.python_version())
    _, most, k = chosen['near'][0].split()
    words = ('cake', 'giraffe', 'tree', 'zebra') if args.model == 'small' else ('cat', 'car', 'tree', 'person')
    examples = {w: rivals(w, float(most), int(k)) for w in words}
    said = ['FOLDER' if a == str(args.photos) else a for a in sys.argv[1:]]
    command = ' '.join(['python tools/measure_contrast.py', *said])
    settled = {kind: dict(variant=n, threshold=THRESHOLDS[t]) for kind, (n, t) in chosen.items()}
    told = dict(command=command, date=time.strftime('%Y-%m-%d'), versions=versions, threads=torch.get_num_threads(),
                vocabulary=len(rivals.words), thresholds=THRESHOLDS, chosen=settled, examples=examples,
                validation=curve, tests=tests)
    before = json.loads(args.json.read_text()) if args.json.is_file() else {}
    with writing(args.json) as aside: aside.write_text(json.dumps({**before, args.model: told}, indent=0) + '\n')
    print(json.dumps(dict(chosen=told['chosen'], examples=examples, tests=tests), indent=1))

if __name__ == '__main__': main()
