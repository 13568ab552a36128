"""Compare this package with arrays that the published TCL modules gave.

    python tools/parity.py EXPECTED.safetensors

`settings.json` beside the file says which of its arrays are inputs, the settings and the tolerances. Every output is
computed again through the package's public functions; the largest error of each group is printed. Exit code 1 when one
is above its tolerance, or when an array was not computed; 2, with one line, when the files cannot be read or do not fit
together.
"""
import argparse, json, re, sys
from functools import partial
from pathlib import Path
import torch
from tcl_nb.clip import (FrozenCLIP, average_templates, build_small_clip, identity_attention, read_safetensors,
                         resize_positions, run_block, to_map)
from tcl_nb.core import TclError, command
from tcl_nb.grounder import Grounder, published_name
from tcl_nb.losses import WEIGHTS
from tcl_nb.masking import gumbel_sigmoid, hard_mask, mask_logits, masked_image, masked_pool, similarity, soft_mask
from tcl_nb.pamr import pamr
from tcl_nb.segmentation import padded, sliding, tcl_system
from tcl_nb.training import Objective

GROUPS = 'tower', 'init', 'grounder', 'train', 'loss', 'grad', 'pamr', 'infer', 'text'
#: the published names of the loss terms, and ours
TERMS = {'tcli': 'image', 'tclf': 'feature', 'area': 'area', 'neg_area': 'other_area', 'tv_mask': 'mask_tv',
         'tv_img': 'dense_tv'}

#: 'infer.odd.…' with or without refinement, and the blend
ODD = r'infer\.odd\.pamr_([01])\.blend_([\d.]+)'

def tower(x, s):
    "The frozen image tower with the file's weights; the text tower is not used"
    t = s['tower']
    visual = dict(layers=t['blocks'], width=t['width'], head_width=t['width']//t['heads'], patch_size=t['patch'],
                  image_size=[g*t['patch'] for g in t['grid']])
    text = dict(context_length=4, vocab_size=4, width=8, heads=1, layers=1)
    model = build_small_clip(dict(embed_dim=t['embedding'], vision_cfg=visual, text_cfg=text,
                                  quick_gelu=t['quick_gelu']))
    model.visual.load_state_dict({k[len('weights.visual.'):]: v
                                  for k, v in x.items() if k.startswith('weights.visual.')})
    return FrozenCLIP(model, name='parity tower')

def trained(x, clip):
    "The grounder and the losses' scales with the file's weights"
    weights = {published_name(k[len('weights.'):]): v for k, v in x.items() if k.startswith('weights.masker.')}
    grounder = Grounder(clip)
    grounder.load_state_dict(weights)
    return grounder

def compute(x, s):
    "name → array for every output of the groups"
    clip, out = tower(x, s), {}
    image, wide, text, more = (x['input.'+k] for k in ('image', 'wide_image', 'text', 'more_text'))
    trunk, grid = clip.trunk(image), clip.grid(image)
    out['tower.trunk'] = trunk
    out['tower.dense_tokens'] = to_map(run_block(clip.last_block, trunk, identity_attention)[:, 1:], grid)
    out['tower.dense'] = clip.dense(trunk, grid)
    out['tower.image_embedding'] = clip.image_embedding(trunk)
    out['tower.wide_trunk'] = clip.trunk(wide)
    out['tower.wide_dense'] = clip.dense(out['tower.wide_trunk'], clip.grid(wide))
    for k in s['outputs']:
        if grid_of := re.fullmatch(r'tower\.pos_(\d+)x(\d+)', k):
            out[k] = resize_positions(clip.visual.positional_embedding, tuple(map(int, grid_of.groups())))

    new = Grounder(clip)
    out['init.sim'] = similarity(new(trunk, grid), more)
    out['init.mask'] = soft_mask(out['init.sim'], new.w, new.b)

    grounder = trained(x, clip)
    out['grounder.block_out'] = to_map(run_block(grounder.block, trunk[:, 1:], identity_attention), grid)
    out['grounder.after_first_upsampling'] = grounder.decoder[0](out['grounder.block_out'])
    out['grounder.decoded'] = grounder.decoder(out['grounder.block_out'])
    out['grounder.embedding'] = dense = grounder(trunk, grid)
    out['grounder.sim'] = similarity(dense, more)
    out['grounder.mask'] = soft_mask(out['grounder.sim'], grounder.w, grounder.b)
    out['grounder.hard_mask'] = hard_mask(out['grounder.mask'])

    B = len(image)
    own = torch.eye(B, dtype=torch.bool)
    out['train.sim'] = sim = similarity(dense, text)
    logits = mask_logits(sim, grounder.w, grounder.b)
    mask = logits.sigmoid()
    out['train.soft_pos'] = mask[own][:, None]
    out['train.soft_neg'] = mask[~own].unflatten(0, (B, B-1))
    out['train.hard_all'] = hard = gumbel_sigmoid(logits, x['input.uniform'])
    out['train.pooled'] = masked_pool(dense, mask)
    out['train.masked_image_embedding'] = clip.image_embedding(clip.trunk(masked_image(image, hard[own][:, None])))

    prior, weight = s['area_prior'], s['loss_weights']
    weights = {k: weight['tcl' if k in ('image', 'feature') else 'area' if 'area' in k else 'tv'] for k in WEIGHTS}
    objective = Objective(clip, grounder, weights, prior['positive'], prior['negative'])
    for p, k in ((objective.image_scale, 'tcli'), (objective.feature_scale, 'tclf')):
        p.data = x[f'weights.{k}_loss.logit_scale'].clone()
    terms = objective(image, text, x['input.uniform'][own][:, None])
    for published, ours in TERMS.items():
        if ours not in terms: continue # its weight is 0
        out[f'loss.{published}'] = terms[ours]
        out[f'loss.weighted.{published}_loss'] = weights[ours]*terms[ours]
    out['loss.total'] = terms['total']
    terms['total'].backward()
    ours = dict(grounder.named_parameters())
    for k in s['outputs']:
        if (name := published_name(k[len('grad.'):])) in ours and k.startswith('grad.masker.'): out[k] = ours[name].grad
    out['grad.tcli_loss.logit_scale'] = objective.image_scale.grad
    out['grad.tclf_loss.logit_scale'] = objective.feature_scale.grad
    out |= refined(x, s) | inferred(x, s, clip, grounder)
    if 'text.averaged' in s['outputs']: out['text.averaged'] = average_templates(x['text.raw'])
    return {k: v.detach() for k, v in out.items() if v is not None}

def refined(x, s):
    "PAMR alone, with each of the file's settings"
    keys = [m[1] for k in s['outputs'] if (m := re.fullmatch(r'(pamr\..+)\.refined', k))]
    return {f'{k}.refined': pamr(x[f'{k}.image'], x[f'{k}.mask'], **s[k]) for k in keys}

def inferred(x, s, clip, grounder):
    "Maps at the picture's size: of a picture whose sides are not multiples of the patch, and through windows"
    def system(blend, refine):
        return padded(tcl_system(clip, grounder, blend, refine and partial(pamr, **s[refine])), s['tower']['patch'])
    out = {}
    for k in s['outputs']:
        if k == 'infer.slide':
            t = s[k]
            out[k] = sliding(system(t['blend'], t['pamr']), t['crop'], t['stride'])(x[t['image']], x[t['text']])
        elif m := re.fullmatch(ODD, k):
            t = s['infer.odd']
            out[k] = system(float(m[2]), refiner(t) if m[1] == '1' else None)(x[t['image']], x[t['text']])
    return out

def refiner(setting): return setting['pamr'].split()[0] # 'pamr.default where 1' → 'pamr.default'

def error(name, ours, theirs, probability, tol):
    "(error, bound) of one array"
    if ours.shape != theirs.shape:
        raise TclError(f"'{name}' has shape {tuple(ours.shape)} here and {tuple(theirs.shape)} in the file")
    gap = (ours.double()-theirs.double()).abs()
    if probability is not None: gap = gap[(probability-.5).abs() > 1e-5]
    gap = gap.max().item() if gap.numel() else 0.
    if any(name.startswith(p) for p in tol['relative_for']):
        return gap/max(theirs.abs().max().item(), 1e-30), tol['relative']
    return gap, tol['absolute']

def read(path):
    "Arrays and settings, or a `TclError` that names what is missing"
    expected, _ = read_safetensors(path, 'expected arrays')
    beside = path.parent/'settings.json'
    try: s = json.loads(beside.read_text())
    except (OSError, ValueError) as e: raise TclError(f"cannot read settings from '{beside}': {e}") from e
    def check(parts):
        for k, names in parts.items():
            if not isinstance(s, dict) or k not in s: raise TclError(f"'{beside}' lacks '{k}'")
            for name in names:
                if name not in s[k]: raise TclError(f"'{beside}' lacks '{name}' in '{k}'")
    check({'tower': ('width', 'heads', 'blocks', 'patch', 'grid', 'embedding', 'quick_gelu'),
           'loss_weights': ('tcl', 'area', 'tv'),
           'area_prior': ('positive', 'negative'), 'tolerance': ('absolute', 'relative_for', 'relative'), 'inputs': (),
           'outputs': ()})
    given = {*s['inputs'], *(k for k in expected if k.startswith(('input.', 'weights.')))}
    # an array that settings forgot counts too
    s['outputs'] += [k for k in expected if k not in given and k not in s['outputs']]
    parts, inputs = needs(s['outputs'])
    check(parts)
    for k in ('infer.odd', 'infer.slide'):
        if k not in parts: continue
        inputs += [s[k]['image'], s[k]['text']]
        if s[k]['pamr']: check({refiner(s[k]): ('iterations', 'dilations')})
    for k in (*s['inputs'], *inputs):
        if k not in expected: raise TclError(f"'{path}' lacks the input '{k}'")
    s['inputs'] = sorted({*s['inputs'], *inputs})
    return expected, s

def needs(outputs):
    "Settings and inputs without which these outputs cannot be computed"
    inputs = [f'input.{k}' for k in ('image', 'wide_image', 'text', 'more_text', 'uniform')]
    inputs += ['weights.masker.sim2mask.w', 'weights.masker.sim2mask.b', 'weights.tcli_loss.logit_scale',
               'weights.tclf_loss.logit_scale']
    parts = {}
    for k in outputs:
        if m := re.fullmatch(r'(pamr\..+)\.refined', k):
            parts[m[1]] = 'iterations', 'dilations'
            inputs += [f'{m[1]}.image', f'{m[1]}.mask']
        if re.fullmatch(ODD, k): parts['infer.odd'] = 'image', 'text', 'pamr'
        if k == 'infer.slide': parts[k] = 'image', 'text', 'crop', 'stride', 'blend', 'pamr'
        if k == 'text.averaged': inputs.append('text.raw')
    return parts, inputs

def one_line(error): return ' '.join(str(error).split())[:200]

@command
def parity(argv=None):
    ap = argparse.ArgumentParser(prog='parity.py',
                                 description='Compare this package with arrays that the published TCL modules gave.')
    ap.add_argument('expected', type=Path,
                    help='safetensors file with inputs and expected outputs; settings.json lies beside it')
    args = ap.parse_args(argv)
    expected, s = read(args.expected)
    inputs = {k: v for k, v in expected.items() if k in s['inputs'] or k.startswith('weights.')}
    wanted = {g: [k for k in s['outputs'] if k.split('.')[0] == g]
              for g in dict.fromkeys(k.split('.')[0] for k in s['outputs'])}
    if not set(wanted) & set(GROUPS):
        raise TclError(f"nothing to compare: '{args.expected}' has no output in the groups {', '.join(GROUPS)}")
    try: computed, failed = compute(inputs, s), False
    except (RuntimeError, ValueError, TypeError, ArithmeticError) as e:
        raise TclError(f"cannot run a tower with the inputs of '{args.expected}' and its settings: "
                       f"{one_line(e)}") from e
    for k in s['outputs']:
        if k in computed and k not in expected: raise TclError(f"'{args.expected}' lacks the output '{k}'")
    soft = {'grounder.hard_mask': computed['grounder.mask'], 'train.hard_all': noisy(computed['train.sim'], inputs)}
    print(f'{"group":<10}{"arrays":>8}{"largest error":>16}{"allowed":>10}')
    for group, names in wanted.items():
        missing = [k for k in names if k not in computed]
        rows = [(*error(k, computed[k], expected[k], soft.get(k), s['tolerance']), k) for k in names if k in computed]
        worst = max(rows, key=lambda r: r[0]/r[1] if r[0] == r[0] else float('inf'), default=(0., 0., ''))
        bad = [k for e, bound, k in rows if not e <= bound]
        print(f'{group:<10}{len(rows):>8}{worst[0]:>16.2e}{worst[1]:>10.0e}  '
              f'{"ok" if not bad and not missing else "FAILED"}' + f' ({worst[2]})'*bool(rows))
        for k in bad: print(f'  above tolerance: {k}')
        for k in missing: print(f'  not computed: {k}')
        failed |= bool(bad or missing)
    for group in GROUPS:
        if group not in wanted: print(f'{group:<10}{0:>8}{"not in file":>16}')
    if failed: sys.exit(1)

def noisy(sim, x):
    "Probability under the noise that the Gumbel-sigmoid compares with one half"
    w, b = x['weights.masker.sim2mask.w'], x['weights.masker.sim2mask.b']
    u = x['input.uniform']
    return (mask_logits(sim, w, b) + (u/(1-u)).log()).sigmoid()

if __name__ == '__main__': parity()
