"""Draw the small world's atlas from three npm packages of emoji.

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0 @lobehub/fluent-emoji-3d@1.1.0
    python tools/make_atlas.py emoji-datasource-google-16.0.0.tgz emoji-datasource-twitter-16.0.0.tgz \\
        lobehub-fluent-emoji-3d-1.1.0.tgz

Writes tcl_nb/assets/smallworld/atlas.png (one row of tiles after the other: each word in each design) and atlas.json
(words and designs). The licences of the drawings lie beside them.
"""
import argparse, io, json, tarfile
from pathlib import Path
import numpy as np
from PIL import Image
from tcl_nb.core import TclError, command, writing
from tcl_nb.smallworld import tile_pictures

DESIGNS = ('noto', 'twemoji', 'fluent')
OUT = Path(__file__).parent.parent/'tcl_nb'/'assets'/'smallworld'

# word -> short name in emoji-datasource, where the two differ
ODD = {'backpack': 'school_satchel', 'cake': 'birthday', 'castle': 'european_castle', 'cheese': 'cheese_wedge',
       'cherry': 'cherries', 'clock': 'alarm_clock', 'diamond': 'gem', 'donut': 'doughnut',
       'drum': 'drum_with_drumsticks', 'fish': 'tropical_fish', 'book': 'green_book', 'fox': 'fox_face',
       'giraffe': 'giraffe_face', 'hat': 'tophat', 'hot dog': 'hotdog', 'ice cream': 'icecream',
       'lion': 'lion_face', 'monkey': 'monkey_face', 'orange': 'tangerine', 'palm tree': 'palm_tree',
       'panda': 'panda_face', 'pumpkin': 'jack_o_lantern', 'robot': 'robot_face', 'shoe': 'athletic_shoe',
       'snowman': 'snowman_without_snow', 'soccer ball': 'soccer', 'squirrel': 'chipmunk', 'teddy bear': 'teddy_bear',
       'television': 'tv', 'train': 'steam_locomotive',
       'tree': 'deciduous_tree', 'zebra': 'zebra_face'}
WORDS = sorted([*ODD, *'''
    airplane apple avocado balloon banana basketball bear bee bird boat broccoli bus butterfly cactus camera car
    carrot cat chicken computer cow crab crown dog dress duck eggplant elephant fire fries frog ghost gift
    grapes guitar hamburger heart hedgehog helicopter horse house ladybug lemon magnet mushroom octopus pear
    penguin pig pineapple pizza popcorn rabbit rainbow rocket rose scissors shirt skull snail snake spider
    star strawberry sunflower taco tent tiger tomato tractor trophy turtle umbrella volcano watermelon whale
    '''.split()])

def open_tar(path):
    "An npm tarball, or a `TclError` that names it"
    try: return tarfile.open(path)
    except (OSError, tarfile.TarError) as e:
        raise TclError(f"cannot read the npm tarball '{path}': {getattr(e, 'strerror', None) or e}") from e

def pictures(google, twitter, fluent):
    "The drawings of every word in every design, in the atlas's order"
    with open_tar(google) as g, open_tar(twitter) as t, open_tar(fluent) as f:
        try: table = {e['short_name']: e for e in json.load(g.extractfile('package/emoji.json'))}
        except KeyError:
            raise TclError(f"'{google}' has no package/emoji.json; give emoji-datasource-google's "
                           "tarball first") from None
        webp = {n.rsplit('/', 1)[-1].removesuffix('.webp').replace('-fe0f', ''): n
                for n in f.getnames() if n.endswith('.webp')}
        for word in WORDS:
            image = table[ODD.get(word, word)]['image']
            code = image.removesuffix('.png').replace('-fe0f', '')
            for tar, path, name in ((g, google, f'package/img/google/64/{image}'),
                                    (t, twitter, f'package/img/twitter/64/{image}'),
                                    (f, fluent, webp.get(code, f'{code}.webp'))):
                try: yield Image.open(io.BytesIO(tar.extractfile(name).read()))
                except KeyError: raise TclError(f"'{path}' has no drawing '{name}' for '{word}'") from None

@command
def make_atlas(argv=None):
    ap = argparse.ArgumentParser(prog='make_atlas.py', description=__doc__.split('\n')[0])
    for name in ('google', 'twitter', 'fluent'): ap.add_argument(name, help=f'npm tarball with the {name} drawings')
    ap.add_argument('--out', type=Path, default=OUT, help='folder to write to (%(default)s)')
    args = ap.parse_args(argv)
    tiles = tile_pictures(pictures(args.google, args.twitter, args.fluent)).numpy()
    n, cols = tiles.shape[-1], 18
    rows = -(-len(tiles)//cols)
    tiles = np.concatenate([tiles, np.zeros((rows*cols-len(tiles), *tiles.shape[1:]), np.uint8)])
    sheet = tiles.reshape(rows, cols, 4, n, n).transpose(0, 3, 1, 4, 2).reshape(rows*n, cols*n, 4)
    table = {'tile': n, 'grid': [rows, cols], 'designs': DESIGNS, 'words': WORDS}
    with writing(args.out/'atlas.png') as aside: Image.fromarray(sheet).save(aside, optimize=True)
    with writing(args.out/'atlas.json') as aside: aside.write_text(json.dumps(table, indent=0) + '\n')
    print(f'{len(WORDS)} words in {len(DESIGNS)} designs: {(args.out/"atlas.png").stat().st_size/1e6:.2f} MB')

if __name__ == '__main__': make_atlas()
