"""Time and memory of training: the package's step beside the straightforward form of the published one, side by side.

    python tools/bench_training.py [--only loss|step|arithmetic] [--texts 64 256 1024] [--images 64] [--batch 4]
                                   [--threads 2] [--device cpu] [--before FOLDER] [--turns 3] [--clock cpu]

Seeded random weights of ViT-B/16's sizes at 224 pixels; every measurement is made in a process of its own.

*loss*: feature-level TCL, areas and the masks' smoothness, forward and backward, for 64 images (embedding of 512
channels on 56×56 points) against N texts. Memory is what the process needs at its highest beyond what it held before,
less the gradient of the embedding, which both forms must write; the embedding itself lies there before. *step*: a whole
training step without the optimiser.

*arithmetic*: multiplications and additions an image, counted by PyTorch's flop counter without computing (64 images
against 64 texts).

The plain form computes all pairs at once, convolves up-sampled maps with 3×3 kernels, draws noise for all pairs, and
runs the frozen tower's dense path, which nothing uses. Prints tables; the last line is JSON with the ratios of ours to
plain.

With --before, a folder with another version of the package, its form is measured by turns with ours, and a second line
for each measurement says ours in parts of it. With --turns the forms take turns several times, and the fastest turn of
each counts. On a machine that does other things, --clock cpu counts a process's own time.
"""
import argparse, json
import torch, torch.nn.functional as F
from measure import in_a_process, measuring

SIZES = dict(channels=512, side=56)
MASKS = ('feature', 'area', 'other_area', 'mask_tv')

def plain_mask_terms(dense, text, w, b, scale, first=0):
    "All masks at once"
    from tcl_nb.losses import symmetric_cross_entropy, temperature, total_variation
    from tcl_nb.masking import EPS, unit
    sim = torch.einsum('bchw,nc->bnhw', unit(dense, 1), unit(text))
    mask = (w*sim + b).sigmoid()
    pooled = torch.einsum('bnhw,bchw->bnc', mask, dense)/(mask.sum((2, 3))[..., None] + EPS)
    own = torch.zeros(mask.shape[:2], dtype=torch.bool, device=mask.device)
    own[range(len(dense)), range(first, first+len(dense))] = True
    logits = temperature(scale)*torch.einsum('ijc,jc->ij', unit(pooled), unit(text))
    target = own.int().argmax(1)
    own_rows = torch.arange(len(dense), device=mask.device)
    back = F.cross_entropy(logits[:, first:first+len(dense)].T, own_rows)
    feature = (F.cross_entropy(logits, target) + back)/2
    return dict(feature=feature, area=(mask[own].mean() - .4).abs(), other_area=mask[~own].mean().abs(),
                mask_tv=total_variation(mask)), mask

def our_mask_terms(dense, text, w, b, scale, first=0):
    "The package's, whose joint matrices are square: images of other processes would fill the missing rows"
    from tcl_nb.losses import pair_statistics, symmetric_cross_entropy, temperature
    cosine, area, variation = pair_statistics(dense, text, w, b)
    B = len(dense)
    mine = slice(first, first+B)
    own = area[:, mine].diagonal()
    target = torch.arange(first, first+B, device=dense.device)
    logits = temperature(scale)*cosine
    back = F.cross_entropy(logits[:, mine].T, torch.arange(B, device=dense.device))
    feature = (F.cross_entropy(logits, target) + back)/2
    return dict(feature=feature, area=(own.mean() - .4).abs(),
                other_area=((area.sum()-own.sum())/(area.numel()-B)).abs(), mask_tv=variation.mean())

def loss(args):
    "In the child: one form of the loss, forward and backward"
    from tcl_nb.losses import weighted_sum
    torch.manual_seed(0)
    c, s = SIZES['channels'], SIZES['side']
    def inputs(images, texts):
        dense = torch.randn(images, c, s, s).requires_grad_()
        return dense, torch.randn(texts, c), *(torch.tensor(v).requires_grad_() for v in (10., -2.5, 2.66))
    form = (lambda *x: plain_mask_terms(*x)[0]) if args.form == 'plain' else our_mask_terms
    weighted_sum(form(*inputs(2, 4))).backward() # libraries are loaded
    best = None
    for _ in range(args.repeats):
        x = inputs(args.images, args.texts[0])
        with measuring(args.clock) as m:
            total = weighted_sum(form(*x))
            total.backward()
        best = m if best is None else dict(seconds=min(best['seconds'], m['seconds']), bytes=best['bytes'])
    gradient = x[0].numel()*4
    print(json.dumps(dict(seconds=best['seconds'], megabytes=max(best['bytes']-gradient, 1e6)/1e6, value=total.item(),
                          gradient=x[0].grad.norm().item())))

def plain_stage(stage, x):
    "A stage of the decoder with 3×3 convolutions on the up-sampled map"
    x = F.interpolate(x, scale_factor=2)
    for block in (stage.conv, stage.conv2): x = x + block.gate.tanh()*block.conv(F.gelu(block.norm(x)))
    return x

def plain_step(clip, grounder, image, text, scale):
    "The published step as it is written there"
    from tcl_nb.clip import identity_attention, run_block, to_map
    from tcl_nb.losses import image_level, total_variation
    from tcl_nb.masking import gumbel_sigmoid, masked_image, similarity
    grid = clip.grid(image)
    with torch.no_grad():
        trunk = clip.trunk(image)
        clip.dense(trunk, grid) # not used
    x = to_map(run_block(grounder.block, trunk, identity_attention)[:, 1:], grid)
    for stage in grounder.decoder: x = plain_stage(stage, x)
    dense = grounder.project(x)
    terms, mask = plain_mask_terms(dense, text, grounder.w, grounder.b, scale)
    hard = gumbel_sigmoid(grounder.w*similarity(dense, text) + grounder.b) # for all pairs
    own = hard[range(len(image)), range(len(image))][:, None]
    terms |= dict(image=image_level(clip.image_embedding(clip.trunk(masked_image(image, own))), text[:len(image)],
                                    scale), dense_tv=total_variation(dense))
    return terms

def step(args):
    "In the child: one form of a whole step"
    from tcl_nb.clip import load_clip
    from tcl_nb.grounder import Grounder
    from tcl_nb.losses import weighted_sum
    from tcl_nb.training import Objective
    device = torch.device(args.device)
    cuda = device.type == 'cuda'
    clip = load_clip('ViT-B-16-quickgelu').to(device)
    torch.manual_seed(0)
    grounder = Grounder(clip, gate=.3).to(device)
    objective = Objective(clip, grounder).to(device)
    image = torch.randn(args.batch, 3, 224, 224, device=device)
    text = torch.randn(args.batch, SIZES['channels'], device=device)
    def once():
        with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
            total = weighted_sum(plain_step(clip, grounder, image, text,
                objective.feature_scale)) if args.form == 'plain' else objective(image, text)['total']
        objective.zero_grad(set_to_none=True)
        total.backward()
        if cuda: torch.cuda.synchronize()
    once()
    if cuda: torch.cuda.reset_peak_memory_stats()
    best = None
    for _ in range(args.repeats):
        with measuring(args.clock) as m: once()
        if cuda: m['bytes'] = torch.cuda.max_memory_allocated()
        best = m if best is None else dict(seconds=min(best['seconds'], m['seconds']),
                                           bytes=max(best['bytes'], m['bytes']))
    print(json.dumps(dict(seconds=best['seconds'], megabytes=best['bytes']/1e6)))

def arithmetic(images=64, texts=64, tiles=True):
    "Prints where the operations of a step go, in GFLOP an image"
    from torch.utils.flop_counter import FlopCounterMode
    from tcl_nb.clip import identity_attention, load_clip, run_block
    from unittest import mock
    from tcl_nb import decoder as decoder_module
    from tcl_nb.grounder import Grounder
    from tcl_nb.losses import pair_statistics
    from tcl_nb.masking import masked_pool, similarity, soft_mask
    def count(make, *wanted):
        "(forward, backward) of a function of leaves that want a gradient"
        with FlopCounterMode(display=False) as forward: out = make()
        if not wanted: return forward.get_total_flops(), 0
        with FlopCounterMode(display=False) as backward: torch.autograd.grad(out.sum(), wanted, allow_unused=True)
        return forward.get_total_flops(), backward.get_total_flops()
    clip = load_clip('ViT-B-16-quickgelu')
    grounder = Grounder(clip)
    clip, grounder = clip.to('meta'), grounder.to('meta')
    image = torch.empty(images, 3, 224, 224, device='meta')
    seen = image.clone().requires_grad_()
    grid = clip.grid(image)
    trunk = torch.empty(images, 1+grid[0]*grid[1], 768, device='meta')
    text = torch.empty(texts, SIZES['channels'], device='meta')
    dense = torch.empty(images, SIZES['channels'], 4*grid[0], 4*grid[1], device='meta').requires_grad_()
    w, b = (torch.tensor(1., device='meta') for _ in range(2))
    tokens, tall = (torch.empty(images, 768, k*grid[0], k*grid[1], device='meta').requires_grad_() for k in (1, 4))
    weights = [*grounder.decoder.parameters()]
    def plain_decoder():
        x = tokens
        for stage in grounder.decoder: x = plain_stage(stage, x)
        return x
    def our_decoder(): # as the device would have it
        with mock.patch.object(decoder_module, 'by_tiles', lambda x: tiles): return grounder.decoder(tokens)
    with torch.no_grad(): frozen, unused = count(lambda: clip.trunk(image)), count(lambda: clip.dense(trunk, grid))
    same = {'trunk, no gradient': frozen,
            'copied block': count(lambda: run_block(grounder.block, trunk[:, 1:], identity_attention),
                                  *grounder.block.parameters()),
            'projection': count(lambda: grounder.project(tall), tall, *grounder.project.parameters()),
            'masked image through the tower': count(lambda: clip.image_embedding(clip.trunk(seen)), seen)}
    rows = {k: (v, v) for k, v in same.items()}
    rows |= {'dense path, not used': (unused, (0, 0)), 'decoder': (count(plain_decoder, tokens, *weights),
                                                                   count(our_decoder, tokens, *weights)),
             f'masks and pooling, {texts} texts': (count(lambda: masked_pool(dense,
                 soft_mask(similarity(dense, text), w, b)), dense),
                     count(lambda: torch.stack(pair_statistics(dense, text, w, b)), dense))}
    print(f"{'GFLOP an image':<34}{'plain':>10}{'ours':>10}")
    for k, (plain, ours) in rows.items(): print(f'{k:<34}{sum(plain)/images/1e9:>10.1f}{sum(ours)/images/1e9:>10.1f}')
    plain, ours = (sum(sum(r[i]) for r in rows.values())/images/1e9 for i in (0, 1))
    print(f"{'together':<34}{plain:>10.1f}{ours:>10.1f}")
    return dict(plain_gflop=round(plain, 1), our_gflop=round(ours, 1))

def pair(kind, args, **sizes):
    "All forms by turns, each in a process of its own → {form: its fastest turn}, and a line of the table"
    turns, forms = [], ('plain', 'ours', 'before') if args.before else ('plain', 'ours')
    for _ in range(args.turns):
        turns.append({})
        for form in forms:
            options = ['--kind', kind, '--form', 'plain' if form == 'plain' else 'ours', '--clock', args.clock,
                       '--threads', args.threads, '--repeats', args.repeats*(2 if kind == 'step' else 1),
                       '--device', args.device]
            for k, v in sizes.items(): options += [f'--{k}', v]
            turns[-1][form] = in_a_process(__file__, options, args.threads, args.before if form == 'before' else None)
    out = {form: min((turn[form] for turn in turns), key=lambda found: found['seconds']) for form in forms}
    for form in forms: out[form]['turns'] = [round(turn[form]['seconds'], 3) for turn in turns]
    p, o = out['plain'], out['ours']
    what = ', '.join(f'{v} {k}' for k, v in sizes.items())
    print(f"{kind:<6}{what:<26}{p['seconds']:>9.2f}{o['seconds']:>9.2f}{o['seconds']/p['seconds']:>8.2f}"
          f"{p['megabytes']:>10.0f}{o['megabytes']:>10.0f}{o['megabytes']/p['megabytes']:>8.2f}", flush=True)
    if args.before:
        b = out['before']
        print(f"{'':<6}{'  in parts of before':<26}{b['seconds']:>9.2f}{o['seconds']:>9.2f}"
              f"{ratio(out, 'seconds', 'before'):>8.2f}{b['megabytes']:>10.0f}{o['megabytes']:>10.0f}"
              f"{ratio(out, 'megabytes', 'before'):>8.2f}", flush=True)
    return out

def ratio(out, key, form='plain'): return round(out['ours'][key]/out[form][key], 4)

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--only', choices=('loss', 'step', 'arithmetic'))
    ap.add_argument('--texts', type=int, nargs='+', default=[64, 256, 1024])
    ap.add_argument('--images', type=int, default=64)
    ap.add_argument('--batch', type=int, default=4, help='pairs in a whole step')
    ap.add_argument('--threads', type=int, default=2)
    ap.add_argument('--repeats', type=int, default=3)
    ap.add_argument('--device', default='cpu')
    ap.add_argument('--turns', type=int, default=1, help='how often each form has a process of its own (default 1)')
    ap.add_argument('--before', help='folder with another version of the package, such as a git worktree')
    ap.add_argument('--clock', choices=('wall', 'cpu'), default='wall')
    ap.add_argument('--kind', help=argparse.SUPPRESS)
    ap.add_argument('--form', help=argparse.SUPPRESS)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    if args.kind: return dict(loss=loss, step=step)[args.kind](args)
    report = dict(threads=args.threads, clock=args.clock, device=args.device, torch=torch.__version__)
    if args.only in (None, 'arithmetic'): report |= arithmetic(tiles=args.device == 'cpu')
    if args.only in (None, 'loss', 'step'):
        print(f"{'':<32}{'seconds':>18}{'':>8}{'MB':>20}\n"
              f"{'':<32}{'plain':>9}{'ours':>9}{'ratio':>8}{'plain':>10}{'ours':>10}{'ratio':>8}")
    if args.only in (None, 'loss'):
        for n in args.texts:
            out = pair('loss', args, images=args.images, texts=n)
            values, gradients = ([out[form][key] for form in ('ours', 'plain')] for key in ('value', 'gradient'))
            same = abs(values[0]/values[1] - 1) < 1e-4 and abs(gradients[0]/gradients[1] - 1) < 1e-3
            assert same, 'the two forms differ'
            report |= {f'loss_time_ratio_{n}': ratio(out, 'seconds'), f'loss_memory_ratio_{n}': ratio(out, 'megabytes')}
            if args.before: report[f'loss_of_before_{n}'] = ratio(out, 'seconds', 'before')
        report |= dict(loss_time_ratio=ratio(out, 'seconds'), loss_memory_ratio=ratio(out, 'megabytes'))
    if args.only in (None, 'step'):
        out = pair('step', args, batch=args.batch)
        report |= dict(step_time_ratio=ratio(out, 'seconds'), step_memory_ratio=ratio(out, 'megabytes'),
                       step_turns={form: found['turns'] for form, found in out.items()})
        if args.before:
            report |= dict(step_of_before=ratio(out, 'seconds', 'before'),
                           step_memory_of_before=ratio(out, 'megabytes', 'before'))
    print(json.dumps(report))

if __name__ == '__main__': main()
