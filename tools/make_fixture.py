"""Make the notebooks' own arrays to agree with: a tiny TCL written out in its slowest form, sharing no code with the
package.

    python tools/make_fixture.py [FOLDER]

Writes expected.safetensors and settings.json, in the form that tools/parity.py reads. Inputs and weights are seeded and
random (the gates too, else the decoder would do nothing); outputs are computed in float64 and stored in float32. Every
formula stands here as it is said in words: attention with its −∞ mask, loops over pixels, taps, pairs, neighbours and
windows.
"""
import argparse, json, math
from pathlib import Path
import torch
from safetensors.torch import save_file

B, WIDTH, HEADS, BLOCKS, PATCH, SIDE, EMBED, CLASSES = 3, 12, 2, 3, 8, 3, 8, 5
GRIDS = (2, 5), (1, 9), (4, 3)       # 2×5 is the wide image's; 1×9 has the stored grid's length, not its shape
PRIOR = dict(positive=.4, negative=0.)
WEIGHTS = dict(tcl=.1, area=.4, tv=1.)
PAMR = {'pamr.default': dict(iterations=10, dilations=[1, 2, 4, 8, 12, 24]),
        'pamr.small': dict(iterations=3, dilations=[1, 2])}
ODD = dict(image='input.odd_image', text='input.text', pamr='pamr.default where 1', blend='0.0 or 0.3')
SLIDE = dict(image='input.slide_image', text='input.text', crop=2*PATCH, stride=PATCH, blend=.3, pamr=None)
LAST = f'transformer.resblocks.{BLOCKS-1}.'
COPY, DECODER = f'masker.image_encoder.backbone.{LAST}', 'masker.image_encoder.decoder.decoder.net.'
PROJECT = 'masker.image_encoder.decoder.image_proj.'

# Inputs and weights

def block_weights(prefix, draw):
    "One transformer block, by open_clip's names"
    D = WIDTH
    shapes = {'ln_1.weight': (D,), 'ln_1.bias': (D,), 'attn.in_proj_weight': (3*D, D), 'attn.in_proj_bias': (3*D,),
              'attn.out_proj.weight': (D, D), 'attn.out_proj.bias': (D,), 'ln_2.weight': (D,), 'ln_2.bias': (D,),
              'mlp.c_fc.weight': (4*D, D), 'mlp.c_fc.bias': (4*D,),
              'mlp.c_proj.weight': (D, 4*D), 'mlp.c_proj.bias': (D,)}
    return {prefix+k: draw(k, *s) for k, s in shapes.items()}

def make_weights(generator):
    "All weights, by the published names; LayerNorm scales lie about 1, matrices keep the size of what they multiply"
    def draw(name, *shape):
        x = torch.randn(shape, generator=generator)
        if 'ln' in name or 'norm' in name: return 1 + .1*x if name.endswith('weight') else .1*x
        return x*(.1 if len(shape) < 2 else math.prod(shape[1:])**-.5)
    v, D = 'visual.', WIDTH
    w = {v+'class_embedding': 3*draw('', D),
         v+'positional_embedding': .5*torch.randn(1+SIDE*SIDE, D, generator=generator),
         v+'proj': draw('', D, EMBED), v+'conv1.weight': draw('', D, 3, PATCH, PATCH)}
    for k in ('ln_pre', 'ln_post'): w |= {f'{v}{k}.{p}': draw(f'{k}.{p}', D) for p in ('weight', 'bias')}
    for i in range(BLOCKS): w |= block_weights(f'{v}transformer.resblocks.{i}.', draw)
    w |= block_weights(COPY, draw)
    gates = iter((.3, -.5, .8, .2))
    for i in range(2):
        for c in ('conv', 'conv2'):
            p = f'{DECODER}{i}.{c}.'
            w |= {p+'norm.weight': draw('norm.weight', D), p+'norm.bias': draw('norm.bias', D),
                  p+'conv.weight': draw('', D, D, 3, 3),
                  p+'conv.bias': draw('', D), p+'gate.gate': torch.tensor(next(gates))}
    w |= {PROJECT+'proj': draw('', D, EMBED), PROJECT+'ln.weight': draw('ln.weight', D),
          PROJECT+'ln.bias': draw('ln.bias', D)}
    w |= {'masker.sim2mask.w': torch.tensor(8.5), 'masker.sim2mask.b': torch.tensor(-.7)}
    return w | {'tcli_loss.logit_scale': torch.tensor(2.2), 'tclf_loss.logit_scale': torch.tensor(1.7)}

def make_inputs(generator):
    "Images, texts, the masks' noise, and what refinement and averaging start from"
    r, s = lambda *shape: torch.randn(shape, generator=generator), SIDE*PATCH
    u = lambda *shape: torch.rand(shape, generator=generator)
    x = {'image': r(B, 3, s, s), 'wide_image': r(1, 3, GRIDS[0][0]*PATCH, GRIDS[0][1]*PATCH), 'text': r(B, EMBED),
         'more_text': r(CLASSES, EMBED),
         'uniform': .001 + .998*u(B, B, 4*SIDE, 4*SIDE)}
    x = {f'input.{k}': v for k, v in x.items()}
    x |= {'input.odd_image': r(1, 3, 11, 21), 'input.slide_image': r(1, 3, 18, 26)} # no side is a multiple of the patch
    x |= {'pamr.default.image': r(1, 3, 9, 12), 'pamr.default.mask': u(1, 2, 9, 12), 'pamr.small.image': r(2, 3, 6, 5),
          'pamr.small.mask': u(2, 3, 6, 5)}
    return x | {'text.raw': r(4, 5, EMBED)*(.2 + 3*u(4, 5, 1))} # of many lengths

# The frozen tower

def layer_norm(x, weight, bias):
    "Over the last dimension"
    mean = x.sum(-1, keepdim=True)/x.shape[-1]
    variance = ((x-mean)**2).sum(-1, keepdim=True)/x.shape[-1]
    return (x-mean)/(variance + 1e-5).sqrt()*weight + bias

def attention(x, w, p, identity):
    "One image's tokens [T,D] → [T,D], head by head; with `identity` the mask is 0 on the diagonal and −∞ elsewhere"
    T, D = x.shape
    n = D//HEADS
    q, k, v = (x @ w[p+'in_proj_weight'][i*D:(i+1)*D].T + w[p+'in_proj_bias'][i*D:(i+1)*D] for i in range(3))
    mask = torch.zeros(T, T, dtype=x.dtype)
    if identity: mask = torch.full_like(mask, -math.inf).masked_fill(torch.eye(T, dtype=torch.bool), 0.)
    out = []
    for h in range(HEADS):
        part = slice(h*n, (h+1)*n)
        score = q[:, part] @ k[:, part].T/math.sqrt(n) + mask
        score = (score - score.max(-1, keepdim=True).values).exp()
        out.append(score/score.sum(-1, keepdim=True) @ v[:, part])
    return torch.cat(out, -1) @ w[p+'out_proj.weight'].T + w[p+'out_proj.bias']

def block(x, w, p, identity=False):
    "Tokens [B,T,D] through one transformer block with QuickGELU"
    norm = lambda k, x: layer_norm(x, w[f'{p}{k}.weight'], w[f'{p}{k}.bias'])
    x = x + torch.stack([attention(y, w, p+'attn.', identity) for y in norm('ln_1', x)])
    y = norm('ln_2', x) @ w[p+'mlp.c_fc.weight'].T + w[p+'mlp.c_fc.bias']
    y = y/(1 + (-1.702*y).exp())
    return x + y @ w[p+'mlp.c_proj.weight'].T + w[p+'mlp.c_proj.bias']

def cubic(t):
    "Keys' kernel with a = −0.75"
    t, a = abs(t), -.75
    if t <= 1: return (a+2)*t**3 - (a+3)*t**2 + 1
    return a*t**3 - 5*a*t**2 + 8*a*t - 4*a if t < 2 else 0.

def positions(stored, h, w):
    """Positional embedding [1+S·S,D] for an h×w grid: every new point
    is a weighted sum of 4×4 stored ones, the border repeated"""
    if (h, w) == (SIDE, SIDE): return stored
    rows, last = [stored[0]], SIDE-1
    for i in range(h):
        for j in range(w):
            y, x = (i+.5)*SIDE/h - .5, (j+.5)*SIDE/w - .5
            point = torch.zeros_like(stored[0])
            for a in range(math.floor(y)-1, math.floor(y)+3):
                for b in range(math.floor(x)-1, math.floor(x)+3):
                    point = point + cubic(y-a)*cubic(x-b)*stored[1 + min(max(a, 0), last)*SIDE + min(max(b, 0), last)]
            rows.append(point)
    return torch.stack(rows)

def trunk(image, w):
    "Image [B,3,H,W] → tokens before the last block [B,1+L,D]"
    v, out, (h, n) = 'visual.', [], (image.shape[2]//PATCH, image.shape[3]//PATCH)
    for one in image:
        tokens = [w[v+'class_embedding']]
        for i in range(h):
            for j in range(n):
                patch = one[:, i*PATCH:(i+1)*PATCH, j*PATCH:(j+1)*PATCH]
                tokens.append((w[v+'conv1.weight']*patch).sum((1, 2, 3)))
        out.append(torch.stack(tokens))
    x = torch.stack(out) + positions(w[v+'positional_embedding'], h, n)
    x = layer_norm(x, w[v+'ln_pre.weight'], w[v+'ln_pre.bias'])
    for i in range(BLOCKS-1): x = block(x, w, f'{v}transformer.resblocks.{i}.')
    return x

def as_map(tokens, h, w):
    "Patch tokens [B,L,D], row by row → [B,D,h,w]"
    return torch.stack([torch.stack([tokens[:, i*w+j] for j in range(w)], -1) for i in range(h)], -2)

def each_pixel(f, x):
    "Apply f, which works on the last dimension, to a map's channels"
    return f(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

def to_clip(x, w, ln='visual.ln_post.', proj='visual.proj'):
    return layer_norm(x, w[ln+'weight'], w[ln+'bias']) @ w[proj]
def dense_tokens(t, w, h, n): return as_map(block(t, w, 'visual.'+LAST, identity=True)[:, 1:], h, n)
def image_embedding(t, w): return to_clip(block(t, w, 'visual.'+LAST), w)[:, 0]

# The grounder

def nearest(x, factor):
    "Every pixel becomes factor × factor pixels"
    H, W = x.shape[-2]*factor, x.shape[-1]*factor
    return torch.stack([torch.stack([x[..., i//factor, j//factor] for j in range(W)], -1) for i in range(H)], -2)

def conv3(x, weight, bias):
    "3×3 convolution with a border of zeros, tap by tap"
    h, n = x.shape[-2:]
    wide = x.new_zeros(*x.shape[:2], h+2, n+2)
    wide[:, :, 1:-1, 1:-1] = x
    out = bias[:, None, None]
    for a in range(3):
        for b in range(3): out = out + torch.einsum('ed,bdhw->behw', weight[:, :, a, b], wide[:, :, a:a+h, b:b+n])
    return out

def gated(x, w, p):
    "x + tanh(g)·conv3×3(GELU(LayerNorm over channels(x)))"
    y = each_pixel(lambda v: layer_norm(v, w[p+'norm.weight'], w[p+'norm.bias']), x)
    y = y*(1 + (y/math.sqrt(2)).erf())/2
    return x + w[p+'gate.gate'].tanh()*conv3(y, w[p+'conv.weight'], w[p+'conv.bias'])

def stage(x, w, i):
    "Double the map, then two gated blocks"
    return gated(gated(nearest(x, 2), w, f'{DECODER}{i}.conv.'), w, f'{DECODER}{i}.conv2.')

def grounder(t, w, h, n):
    "Trunk → the map after the copied block, after each stage, and the dense embedding [B,C,4h,4w]"
    tokens = as_map(block(t, w, COPY, identity=True)[:, 1:], h, n)
    first = stage(tokens, w, 0)
    second = stage(first, w, 1)
    return tokens, first, second, each_pixel(lambda v: to_clip(v, w, PROJECT+'ln.', PROJECT+'proj'), second)

# Masks

def sigmoid(x): return 1/(1 + (-x).exp())
def unit(x): return x/max(x.norm(), x.new_tensor(1e-6))

def cosine(e, text):
    "Map [B,C,h,w] against texts [N,C] → [B,N,h,w], one pixel and one text at a time"
    h, n = e.shape[-2:]
    return torch.stack([torch.stack([torch.stack([torch.stack([unit(one[:, i, j]) @ unit(t) for j in range(n)])
                                                  for i in range(h)])
                                     for t in text]) for one in e])

class StraightThrough(torch.autograd.Function):
    "Forward: 1 where y > ½, else 0. Backward: as if y itself had been handed on"
    @staticmethod
    def forward(ctx, y): return (y > .5).to(y)
    @staticmethod
    def backward(ctx, grad): return grad

# Losses

def info_nce(logits):
    "Mean over rows of −log softmax at the diagonal, and the same over columns, halved"
    n, total = len(logits), 0.
    for i in range(n):
        by_row = logits[i, i] - logits[i].exp().sum().log()
        by_column = logits[i, i] - logits[:, i].exp().sum().log()
        total = total - by_row/n - by_column/n
    return total/2

def factor(logit_scale): return logit_scale.exp() if logit_scale.exp() < 100 else logit_scale.new_tensor(100.)

def variation(z):
    "Mean |difference| of neighbours across, plus the same down"
    H, W = z.shape[-2:]
    maps = z.numel()/(H*W)
    across = sum((z[..., j+1]-z[..., j]).abs().sum() for j in range(W-1))/(maps*H*(W-1))
    down = sum((z[..., i+1, :]-z[..., i, :]).abs().sum() for i in range(H-1))/(maps*(H-1)*W)
    return across + down

def losses(image, text, e, soft, hard, pooled, w):
    "The six terms, without weights, and the masked images' embeddings"
    masked = torch.stack([image[i]*nearest(hard[i, i], PATCH//4) for i in range(B)])
    v = image_embedding(trunk(masked, w), w)
    pairs = lambda f: torch.stack([torch.stack([f(i, j) for j in range(B)]) for i in range(B)])
    image_logits = factor(w['tcli_loss.logit_scale'])*pairs(lambda i, j: unit(v[i]) @ unit(text[j]))
    feature_logits = factor(w['tclf_loss.logit_scale'])*pairs(lambda i, j: unit(pooled[i, j]) @ unit(text[j]))
    areas = pairs(lambda i, j: soft[i, j].mean())
    own = sum(areas[i, i] for i in range(B))/B
    others = sum(areas[i, j] for i in range(B) for j in range(B) if i != j)/(B*(B-1))
    terms = {'tcli': info_nce(image_logits), 'tclf': info_nce(feature_logits), 'area': (own-PRIOR['positive']).abs(),
             'neg_area': (others-PRIOR['negative']).abs(), 'tv_mask': variation(soft), 'tv_img': variation(e)}
    return terms, v

# Refinement and inference

def bilinear(x, H, W, corners):
    """Every new pixel is a mean of 2×2 old ones, weighed by nearness;
    with `corners` the outermost pixels' centres coincide"""
    def between(i, new, old): # two old pixels and the second's share
        p = i*(old-1)/max(new-1, 1) if corners else max((i+.5)*old/new - .5, 0.)
        a = min(math.floor(p), old-1)
        return a, min(a+1, old-1), p-a
    def pixel(i, j):
        (a, b, s), (c, d, t) = between(i, H, x.shape[-2]), between(j, W, x.shape[-1])
        return (1-s)*((1-t)*x[..., a, c] + t*x[..., a, d]) + s*((1-t)*x[..., b, c] + t*x[..., b, d])
    return torch.stack([torch.stack([pixel(i, j) for j in range(W)], -1) for i in range(H)], -2)

def around(x, i, j, dilations):
    "The neighbours of one pixel [48,K]; beyond the border its edge repeats"
    H, W = x.shape[-2:]
    inside = lambda k, side: min(max(k, 0), side-1)
    return torch.stack([x[:, inside(i+a*d, H), inside(j+b*d, W)] for d in dilations for a in (-1, 0, 1)
                        for b in (-1, 0, 1) if a or b])

def refine_one(image, mask, iterations, dilations):
    "PAMR of one image [3,h,w] and its masks [N,h,w], pixel by pixel"
    h, n = mask.shape[-2:]
    pixels = [(i, j) for i in range(h) for j in range(n)]
    affinity = {}
    for i, j in pixels:
        centre, near = image[:, i, j], around(image, i, j, dilations)
        values = torch.cat([near, centre.repeat(len(dilations), 1)])
        deviation = (((values-values.mean(0))**2).sum(0)/(len(values)-1)).sqrt()
        z = (-(near-centre).abs()/(1e-8 + .1*deviation)).mean(1).exp()
        affinity[i, j] = z/z.sum()
    for _ in range(iterations):
        new = torch.zeros_like(mask)
        for i, j in pixels: new[:, i, j] = affinity[i, j] @ around(mask, i, j, dilations)
        mask = new
    return mask

def refine(image, mask, iterations, dilations):
    return torch.stack([refine_one(i, m, iterations, dilations) for i, m in zip(image, mask)])

def segment(image, text, w, pamr, blend):
    "Maps [1,N,H,W] of an image of any size: zeros around it, masks, refinement, blend, bilinear, cut"
    H, W = image.shape[-2:]
    h, n = math.ceil(H/PATCH), math.ceil(W/PATCH)
    top, left = (h*PATCH-H)//2, (n*PATCH-W)//2
    whole = image.new_zeros(1, 3, h*PATCH, n*PATCH)
    whole[..., top:top+H, left:left+W] = image
    t = trunk(whole, w)
    mask = sigmoid(w['masker.sim2mask.w']*cosine(grounder(t, w, h, n)[-1], text) + w['masker.sim2mask.b'])
    if pamr: mask = refine(bilinear(whole, 4*h, 4*n, corners=True), mask, **PAMR[pamr])
    if blend:
        own = sigmoid(10*(cosine(each_pixel(lambda v: to_clip(v, w), dense_tokens(t, w, h, n)), text) - .25))
        mask = (1-blend)*mask + blend*bilinear(own, 4*h, 4*n, corners=False)
    return bilinear(mask, h*PATCH, n*PATCH, corners=False)[..., top:top+H, left:left+W]

def starts(side):
    "Where windows begin: a stride further each time, the last moved back to the border"
    out = [0]
    while out[-1] + SLIDE['crop'] < side: out.append(min(out[-1] + SLIDE['stride'], side - SLIDE['crop']))
    return out

def slide(image, text, w):
    "The mean of all windows at each pixel"
    total, count, c = image.new_zeros(1, len(text), *image.shape[-2:]), image.new_zeros(image.shape[-2:]), SLIDE['crop']
    for y in starts(image.shape[-2]):
        for z in starts(image.shape[-1]):
            total[..., y:y+c, z:z+c] += segment(image[..., y:y+c, z:z+c], text, w, SLIDE['pamr'], SLIDE['blend'])
            count[y:y+c, z:z+c] += 1
    return total/count

@torch.no_grad()
def inference(x, w):
    "What needs no gradient: refinement alone, text embeddings, and maps at the picture's size"
    out = {f'{k}.refined': refine(x[f'{k}.image'], x[f'{k}.mask'], **settings) for k, settings in PAMR.items()}
    out['text.averaged'] = torch.stack([unit(sum(raw)/len(raw)) for raw in x['text.raw']])
    for k, pamr in enumerate((None, 'pamr.default')):
        for blend in (0., .3):
            out[f'infer.odd.pamr_{k}.blend_{blend}'] = segment(x[ODD['image']], x[ODD['text']], w, pamr, blend)
    return out | {'infer.slide': slide(x[SLIDE['image']], x[SLIDE['text']], w)}

def expected(inputs, w):
    "Every output by its name"
    out, g = {}, SIDE
    x = {k.removeprefix('input.'): v for k, v in inputs.items()}
    t = trunk(x['image'], w)
    wide = trunk(x['wide_image'], w)
    out['tower.trunk'], out['tower.wide_trunk'] = t, wide
    out['tower.dense_tokens'] = tokens = dense_tokens(t, w, g, g)
    out['tower.dense'] = dense = each_pixel(lambda v: to_clip(v, w), tokens)
    out['tower.image_embedding'] = image_embedding(t, w)
    out['tower.wide_dense'] = each_pixel(lambda v: to_clip(v, w), dense_tokens(wide, w, *GRIDS[0]))
    for h, n in GRIDS: out[f'tower.pos_{h}x{n}'] = positions(w['visual.positional_embedding'], h, n)

    out['init.sim'] = cosine(nearest(dense, 4), x['more_text'])
    out['init.mask'] = sigmoid(10*out['init.sim'] - 2.5)

    names = 'block_out', 'after_first_upsampling', 'decoded', 'embedding'
    out |= {f'grounder.{k}': v for k, v in zip(names, grounder(t, w, g, g))}
    e, scale, shift = out['grounder.embedding'], w['masker.sim2mask.w'], w['masker.sim2mask.b']
    out['grounder.sim'] = cosine(e, x['more_text'])
    out['grounder.mask'] = sigmoid(scale*out['grounder.sim'] + shift)
    out['grounder.hard_mask'] = (out['grounder.mask'] > .5).to(e)

    out['train.sim'] = sim = cosine(e, x['text'])
    logits, u = scale*sim + shift, x['uniform']
    soft, noisy = sigmoid(logits), sigmoid(logits + (u/(1-u)).log())
    assert ((noisy-.5).abs() > 5e-5).all(), 'a hard mask hangs on rounding: choose another seed'
    out['train.hard_all'] = hard = StraightThrough.apply(noisy)
    out['train.soft_pos'] = torch.stack([soft[i, i][None] for i in range(B)])
    out['train.soft_neg'] = torch.stack([torch.stack([soft[i, j] for j in range(B) if j != i]) for i in range(B)])
    out['train.pooled'] = pooled = torch.stack([torch.stack([(soft[i, j]*e[i]).sum((1, 2))/(soft[i, j].sum() + 1e-6)
                                                             for j in range(B)]) for i in range(B)])

    terms, out['train.masked_image_embedding'] = losses(x['image'], x['text'], e, soft, hard, pooled, w)
    kind = dict(tcli='tcl', tclf='tcl', area='area', neg_area='area', tv_mask='tv', tv_img='tv')
    out |= {f'loss.{k}': v for k, v in terms.items()}
    out |= {f'loss.weighted.{k}_loss': WEIGHTS[kind[k]]*v for k, v in terms.items()}
    out['loss.total'] = total = sum(WEIGHTS[kind[k]]*v for k, v in terms.items())
    trained = {k: v for k, v in w.items() if v.requires_grad}
    out |= {f'grad.{k}': v for k, v in zip(trained, torch.autograd.grad(total, list(trained.values())))}
    return out | inference(inputs, w)

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('folder', nargs='?', type=Path, default=Path(__file__).parent.parent/'nbs'/'fixtures'/'parity')
    folder = ap.parse_args().folder
    generator = torch.Generator().manual_seed(1)
    weights, inputs = make_weights(generator), make_inputs(generator)
    w = {k: v.double().requires_grad_(not k.startswith('visual.')) for k, v in weights.items()}
    outputs = expected({k: v.double() for k, v in inputs.items()}, w)
    given = inputs | {f'weights.{k}': v for k, v in weights.items()}
    arrays = given | {k: v.detach().float() for k, v in outputs.items()}
    settings = dict(
        tower=dict(width=WIDTH, heads=HEADS, blocks=BLOCKS, patch=PATCH, grid=[SIDE, SIDE], embedding=EMBED,
                   quick_gelu=True),
        **PAMR, **{'infer.odd': ODD, 'infer.slide': SLIDE}, loss_weights=WEIGHTS, area_prior=PRIOR,
        tolerance=dict(absolute=1e-4, relative_for=['loss.', 'grad.'], relative=1e-3,
                       relative_error='largest |a-b| over largest |b| of the array',
                       hard_masks='pixels whose probability lies within 1e-5 of 0.5 are left out'),
        inputs=sorted(given), outputs=sorted(outputs))
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in sorted(arrays.items())}, folder/'expected.safetensors')
    (folder/'expected.safetensors').chmod(0o644)
    (folder/'settings.json').write_text(json.dumps(settings, indent=1) + '\n')
    size = sum((folder/f).stat().st_size for f in ('expected.safetensors', 'settings.json'))
    print(f'{len(given)} inputs and weights, {len(outputs)} outputs: {size/1e3:.0f} kB in {folder}')

if __name__ == '__main__': main()
