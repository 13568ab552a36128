"""Does TCL learn more when patches that are alike share their embeddings already while it is trained?

    python tools/train_affinity.py --json nbs/results/train_affinity.json [--seeds 2] [--scenes 300]

Trains the recipe `small`, 150 steps, twice for each seed: as it is, and with the affinity of the regions' room in the
grounder's dense embedding, so that every loss sees shared embeddings and the gradient flows through the sharing. Both
are then asked with the affinity and without it, with PAMR and without, on the small world's test sets; each row's
background threshold is the one that is best on the validation scenes. What is trained is not trained again.
"""
import argparse, json
from datetime import date
from pathlib import Path
from unittest import mock
import torch
from measure_segments import SETS, Small, measured, row, versions
from tcl_nb import runs
from tcl_nb.core import writing
from tcl_nb.frozen import to_map
from tcl_nb.grounder import Grounder
from tcl_nb.regions import by_affinity

POWER = 4.

class Sharing(Grounder):
    "A grounder whose patches share their dense embeddings with those that the trunk finds alike"
    def forward(self, trunk, grid):
        return by_affinity(super().forward(trunk, grid), to_map(trunk[:, 1:], grid), POWER)

def trained(out, kind, seed):
    "The weights of a run, trained if they are not there"
    folder = out/f'{kind}-{seed}'
    weights = folder/'grounder.safetensors'
    if not weights.is_file():
        with mock.patch.object(runs, 'Grounder', Sharing if kind == 'shared' else Grounder):
            runs.tcl_train(['small', f'seed={seed}', 'steps=150', f'out={folder}', 'evaluate=null',
                            'picture_every=100000', 'device=cpu'])
    return weights

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--json', type=Path, required=True)
    ap.add_argument('--seeds', type=int, default=2)
    ap.add_argument('--scenes', type=int, default=300)
    ap.add_argument('--out', type=Path, default=Path('runs/affinity'))
    args = ap.parse_args()
    small, found = None, []
    for kind in ('plain', 'shared'):
        for seed in range(args.seeds):
            weights = trained(args.out, kind, seed)
            if small is None: small = Small(args.scenes, weights)
            small.take(weights)
            for power in (0., POWER):
                for pamr in (False, True):
                    found.append(dict(training=kind, seed=seed, **measured(small, row(power, pamr))))
    out = dict(command='python tools/train_affinity.py --json nbs/results/train_affinity.json', power=POWER,
               scenes=args.scenes, sets=SETS, date=date.today().isoformat(), versions=versions(),
               threads=torch.get_num_threads(), rows=found)
    with writing(args.json) as aside: aside.write_text(json.dumps(out, indent=1) + '\n')

if __name__ == '__main__': main()
