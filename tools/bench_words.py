"""Time to embed words: the text tower on all its 77 positions, and on as many as the texts have (chapter 02).

    python tools/bench_words.py [--model ViT-B-16-quickgelu] [--threads 2] [--repeats 3] [--device cpu]

Ten class names under the nine templates of TCL's evaluation, ninety texts, through a tower of the published size with
seeded random weights. 'plain' is open_clip's own encode_text, 'ours' is encode_texts, with several sizes of batch; each
includes the tokenizer. The forms take turns, so that other work on the machine meets all of them, and the time of each
is that of its fastest turn. Prints a table with the largest difference from the plain form, in parts of a text's
length, and as the last line JSON. Exit code 1 when the difference is above 1e-5.
"""
import argparse, json, sys, time
import torch
from tcl_nb.clip import TCL_TEMPLATES, encode_texts, load_clip

NAMES = ('cat', 'dog', 'sky', 'grass', 'fire hydrant', 'tree', 'person', 'bicycle', 'traffic light', 'tv monitor')
BATCHES = (8, 16, 64, 256)
PUBLIC = 64 # The batch of text_embedding

def timed(form, texts, device):
    "(embeddings, seconds)"
    if device == 'cuda': torch.cuda.synchronize()
    start = time.perf_counter()
    with torch.no_grad(): out = form(texts)
    if device == 'cuda': torch.cuda.synchronize()
    return out, time.perf_counter()-start

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--model', default='ViT-B-16-quickgelu', help="one of open_clip's names")
    ap.add_argument('--threads', type=int, default=2)
    ap.add_argument('--repeats', type=int, default=3)
    ap.add_argument('--device', default='cpu')
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    clip = load_clip(args.model).to(args.device)
    texts = [t.replace('{}', n) for n in NAMES for t in TCL_TEMPLATES]
    def plain(texts): return clip.model.encode_text(clip.tokenizer(texts).to(args.device))
    def ours(batch): return lambda texts: encode_texts(clip.model, clip.tokenizer(texts), batch)
    forms = {'plain': plain, **{f'ours, batches of {b}': ours(b) for b in BATCHES}}
    for form in forms.values(): timed(form, texts[:2], args.device)
    turns = [{name: timed(form, texts, args.device) for name, form in forms.items()} for _ in range(args.repeats)]
    whole, slow = turns[0]['plain'][0], min(turn['plain'][1] for turn in turns)
    print(f"{f'{len(texts)} texts, {args.model}':<32}{'seconds':>9}{'plain/it':>10}{'difference':>12}")
    rows = []
    for name in forms:
        seconds = min(turn[name][1] for turn in turns)
        difference = ((turns[0][name][0]-whole).norm(dim=-1)/whole.norm(dim=-1)).max().item()
        rows.append(dict(form=name, seconds=round(seconds, 4), times=round(slow/seconds, 2), difference=difference))
        print(f'{name:<32}{seconds:>9.3f}{slow/seconds:>10.1f}{difference:>12.1e}', flush=True)
    device = torch.cuda.get_device_name() if args.device == 'cuda' else args.device
    best = next(r for r in rows if r['form'] == f'ours, batches of {PUBLIC}')
    print(json.dumps(dict(threads=args.threads, device=device, torch=torch.__version__, texts=len(texts),
                          times=best['times'], rows=rows)))
    if max(r['difference'] for r in rows) > 1e-5: sys.exit('the embeddings differ by more than rounding')

if __name__ == '__main__': main()
