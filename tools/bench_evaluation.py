"""Seconds per photograph of the evaluation: the package's way beside the plain loop of the published code.

    python tools/bench_evaluation.py [--photos 8] [--classes 171] [--threads 2] [--device cpu]
                                     [--counts] [--before FOLDER [--turns 2] [--clock cpu]]

A ViT-B/16 of the published size with seeded random weights (times do not depend on them), protocol tcl with PAMR and
blend, COCO-Stuff's 171 names, photographs of scikit-image brought to a short side of 448 pixels. The published loop
embeds the texts once, and then takes one window at a time: the last blocks with a dense attention mask, 3×3
convolutions on up-sampled maps, 48 stacked copies of every mask in PAMR, all 171 maps enlarged, added and compared. Its
PAMR takes the 48 neighbours by convolutions with fixed one-hot kernels (they lie in the published training
checkpoints). "sliced" is the same loop with chapter 06's plain PAMR, which takes them as slices and is faster. The
forms take turns, chunk by chunk, so that whatever else the machine does slows all.

With --counts it also prints photographs per second for the class count of each of the eight benchmarks (package's way
only). With --before, a folder with another version of the package, only the two packages are compared: by turns, each
time in a process of its own, the faster turn of each counts (with --clock cpu in the process's own time, for machines
that do other things). Texts are timed apart from pictures. --classes takes the first of the names only, and --photos 1
one photograph: some minutes in all.

The last line is JSON: time_ratio is published over ours, sliced_ratio sliced over ours, label_agreement the share of
pixels with the same label.
"""
import argparse, json, tempfile, time
import torch, torch.nn.functional as F
from measure import in_a_process
from skimage import data
from tcl_nb.benchmarks import Benchmark, PUBLISHED, name_lists
from tcl_nb.clip import TCL_TEMPLATES, load_clip, to_map
from tcl_nb.core import cut_padding, fit_size, normalise, pad_to_patch, resize
from tcl_nb.evaluation import PROTOCOLS, Labeller # whatever room of theirs they live in: another version has others
from tcl_nb.grounder import Grounder
from tcl_nb.masking import similarity, soft_mask
from tcl_nb.pamr import DILATIONS, pamr_plain
from tcl_nb.segmentation import tcl_system, windows

# left and right: the stereo pair of a motorcycle
NAMES = 'astronaut', 'chelsea', 'coffee', 'rocket', 'left', 'right', 'moon', 'hubble_deep_field'

def photographs(n):
    "n uint8 pictures [3,H,W] with a short side of 448 pixels"
    left, right, _ = data.stereo_motorcycle()
    pair = dict(left=left, right=right)
    out = []
    for name in NAMES[:n]:
        x = torch.from_numpy(pair[name] if name in pair else getattr(data, name)().copy())
        x = x[..., None].expand(-1, -1, 3) if x.ndim == 2 else x[..., :3]
        x = x.permute(2, 0, 1).contiguous()
        out.append(resize(x, fit_size(x.shape[1:])))
    return out

def named(names):
    "A benchmark that has names and nothing else"
    return Benchmark('coco_stuff', '', tuple(names), False, [], [], None, None, {n: (n,) for n in names})

# The plain loop

def masked_block(block, x):
    "The last block, each token made to attend to itself by a mask over all pairs"
    mask = torch.full((x.shape[1],)*2, -torch.inf, device=x.device).fill_diagonal_(0)
    y = block.ln_1(x)
    x = x + block.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
    return x + block.mlp(block.ln_2(x))

def gated(block, x): return x + block.gate.tanh()*block.conv(F.gelu(block.norm(x)))

def stacked(x, kernel):
    "[B,N,48,h,w]: the neighbours of every map, by convolutions"
    flat = x.flatten(0, 1)[:, None]
    return torch.cat([F.conv2d(F.pad(flat, [d]*4, mode='replicate'), kernel, dilation=d) for d in DILATIONS],
                     1).unflatten(0, x.shape[:2])

def pamr_published(image, mask, iterations=10):
    "PAMR with one-hot kernels"
    kernel = torch.eye(9, device=mask.device)[[0, 1, 2, 3, 5, 6, 7, 8]].view(8, 1, 3, 3)
    image = F.interpolate(image, mask.shape[-2:], mode='bilinear', align_corners=True)[:, :, None]
    near = stacked(image[:, :, 0], kernel)
    sigma = torch.cat([near] + [image]*len(DILATIONS), 2).std(2, keepdim=True)
    weight = (-(image - near).abs()/(1e-8 + .1*sigma)).mean(1, keepdim=True).softmax(2)
    for _ in range(iterations): mask = (stacked(mask, kernel)*weight).sum(2)
    return mask

def plain_window(clip, g, image, text, blend, pamr):
    trunk, grid = clip.trunk(image), clip.grid(image)
    own = to_map(clip.visual.ln_post(masked_block(clip.last_block, trunk)[:, 1:]) @ clip.visual.proj, grid)
    x = to_map(masked_block(g.block, trunk)[:, 1:], grid)
    for stage in g.decoder: x = gated(stage.conv2, gated(stage.conv, F.interpolate(x, scale_factor=2)))
    mask = pamr(image, soft_mask(similarity(g.project(x), text), g.w, g.b))
    own = F.interpolate(soft_mask(similarity(own, text), 10., -2.5), size=mask.shape[-2:], mode='bilinear',
                        align_corners=False)
    return (1-blend)*mask + blend*own

@torch.no_grad()
def plain_labels(clip, g, image, text, p, pamr=pamr_published):
    size = fit_size(image.shape[1:], p.short, p.long)
    read = normalise(resize(image, size), p.mean, p.std)[None].to(text.device)
    out, count = read.new_zeros(1, len(text), *size), read.new_zeros(1, 1, *size)
    for y, x, h, w in windows(size, p.crop, p.stride):
        window, pad = pad_to_patch(read[..., y:y+h, x:x+w], clip.patch)
        maps = F.interpolate(plain_window(clip, g, window, text, p.blend, pamr), size=window.shape[-2:],
                             mode='bilinear', align_corners=False)
        out[..., y:y+h, x:x+w] += cut_padding(maps, pad)
        count[..., y:y+h, x:x+w] += 1
    return F.interpolate(out/count, size=image.shape[1:], mode='bilinear', align_corners=False)[0].argmax(0)

def timed(run, device):
    if device == 'cuda': torch.cuda.synchronize()
    start = time.perf_counter()
    result = run()
    if device == 'cuda': torch.cuda.synchronize()
    return time.perf_counter()-start, result

def coco_stuff(args): return name_lists()['tcl']['coco_stuff'][:args.classes]

def seeded(args):
    "Tower and grounder with random weights"
    clip = load_clip('ViT-B-16-quickgelu').to(args.device)
    torch.manual_seed(0)
    return clip, Grounder(clip, gate=.1).eval().to(args.device)

def ours(args):
    "In a process of its own: seconds per photograph of the package's way and for all texts; the labels go to a file"
    clip, g = seeded(args)
    for part, state in zip((clip.model, g), torch.load(args.weights)): part.load_state_dict(state)
    protocol, photos, names = PROTOCOLS['tcl'], photographs(args.photos), coco_stuff(args)
    now = CLOCKS[args.clock]
    clip.text_embedding(['a warm-up'])
    start = now()
    labeller = Labeller(tcl_system(clip, g, protocol.blend), clip, protocol, named(names))
    texts = now() - start
    labeller([photos[0][:, :224, :224]])
    start = now()
    labels = [a for i in range(0, len(photos), args.chunk) for a, _ in labeller(photos[i:i+args.chunk])]
    seconds = (now() - start)/len(photos)
    torch.save(labels, args.labels)
    print(json.dumps(dict(seconds=seconds, texts=texts)))

def versions(args):
    "This version of the package and another, by turns"
    forms, turns = dict(before=args.before, ours=None), []
    with tempfile.TemporaryDirectory() as folder:
        clip, g = seeded(args) # the same weights for both: another version may draw others
        torch.save((clip.model.state_dict(), g.state_dict()), f'{folder}/weights.pt')
        for _ in range(args.turns):
            turns.append({})
            for form, version in forms.items():
                options = ['--photos', args.photos, '--classes', args.classes, '--threads', args.threads, '--chunk',
                           args.chunk, '--device', args.device, '--clock', args.clock,
                           '--weights', f'{folder}/weights.pt', '--labels', f'{folder}/{form}.pt']
                turns[-1][form] = in_a_process(__file__, options, args.threads, version)
        labels = {form: torch.load(f'{folder}/{form}.pt') for form in forms}
    same = sum((a == b).sum().item() for a, b in zip(*labels.values()))/sum(a.numel() for a in labels['ours'])
    report = dict(photos=args.photos, classes=args.classes, threads=args.threads, clock=args.clock,
                  torch=torch.__version__)
    print(f'{args.photos} photographs, {args.classes} classes, {args.device}, {args.threads} threads, '
          f'{args.clock} clock')
    print(f"{'seconds':<22}{'before':>9}{'ours':>9}{'ratio':>9}")
    for key, what in dict(texts='all texts', seconds='a photograph').items():
        before, now = (min(turn[form][key] for turn in turns) for form in forms)
        report[key] = dict(before=round(before, 3), ours=round(now, 3), ratio=round(now/before, 3))
        print(f'{what:<22}{before:>9.2f}{now:>9.2f}{now/before:>9.2f}')
    print(f'same label on {100*same:.4f} % of the pixels')
    print(json.dumps(report | dict(label_agreement=same, turns=turns)))

CLOCKS = dict(wall=time.perf_counter, cpu=time.process_time)

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--photos', type=int, default=8, help='at most 8')
    ap.add_argument('--classes', type=int, default=171, help="the first so many of COCO-Stuff's")
    ap.add_argument('--threads', type=int, default=2)
    ap.add_argument('--device', default='cpu')
    ap.add_argument('--chunk', type=int, default=4, help='photographs at a time')
    ap.add_argument('--counts', action='store_true')
    ap.add_argument('--before', help='folder with another version of the package, such as a git worktree')
    ap.add_argument('--turns', type=int, default=2)
    ap.add_argument('--clock', choices=('wall', 'cpu'), default='wall')
    for name in ('--weights', '--labels'): ap.add_argument(name, help=argparse.SUPPRESS)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    if args.labels: return ours(args)
    if args.before: return versions(args)
    clip, g = seeded(args)
    protocol, photos, names = PROTOCOLS['tcl'], photographs(args.photos), coco_stuff(args)
    labeller = Labeller(tcl_system(clip, g, protocol.blend), clip, protocol, named(names))
    text = labeller.text
    plain_labels(clip, g, photos[0], text, protocol)
    labeller(photos[:1]) # warm up
    spent, same, pixels, left = dict(published=0., sliced=0., ours=0.), 0, 0, []
    forms = dict(published=lambda part: [plain_labels(clip, g, image, text, protocol) for image in part],
                 sliced=lambda part: [plain_labels(clip, g, image, text, protocol, pamr_plain) for image in part],
                 ours=labeller)
    for start in range(0, len(photos), args.chunk):
        part, labels = photos[start:start+args.chunk], {}
        for form, run in forms.items():
            seconds, labels[form] = timed(lambda: run(part), args.device)
            spent[form] += seconds
        for a, (b, _) in zip(labels['published'], labels['ours']):
            same += (a == b).sum().item()
            pixels += a.numel()
    for image in photos:
        one = labeller.cut(image)
        labeller.ask([one])
        left.append(len(labeller.masks(one)[1]))
    count = sum(len(windows(fit_size(p.shape[1:]), 448, 224)) for p in photos)
    report = dict(photos=len(photos), windows=count, classes=len(names), device=args.device, threads=args.threads,
                  torch=torch.__version__)
    print(f'{len(photos)} photographs, {count} windows, {len(names)} classes, {args.device}, {args.threads} threads')
    for form, seconds in spent.items():
        report[f'{form}_seconds_per_photo'] = round(seconds/len(photos), 3)
        print(f'{form:<10}{seconds/len(photos):>8.2f} s a photograph', flush=True)
    report |= dict(time_ratio=round(spent['published']/spent['ours'], 3),
                   sliced_ratio=round(spent['sliced']/spent['ours'], 3), label_agreement=same/pixels,
                   classes_left=sum(left)/len(left))
    print(f"published/ours {report['time_ratio']:.2f}, sliced/ours {report['sliced_ratio']:.2f}; same label on "
          f"{100*same/pixels:.4f} % of the pixels; {report['classes_left']:.0f} classes stay for PAMR")
    if args.counts:
        report['photos_per_second'] = {}
        for key in PUBLISHED:
            words = [w if isinstance(w, str) else w[0] for w in name_lists()['tcl'][key]]
            one = Labeller(tcl_system(clip, g, protocol.blend), clip, protocol, named(words))
            one(photos[:1])
            seconds = sum(timed(lambda: one(photos[start:start+args.chunk]), args.device)[0]
                          for start in range(0, len(photos), args.chunk))
            report['photos_per_second'][key] = round(len(photos)/seconds, 3)
            print(f'{key:<12}{len(words):>4} classes{len(photos)/seconds:>9.2f} photographs a second')
    print(json.dumps(report))

if __name__ == '__main__': main()
