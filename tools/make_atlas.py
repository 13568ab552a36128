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
from tcl_nb.smallworld import tile_pictures

DESIGNS = ('noto', 'twemoji', 'fluent')
OUT = Path(__file__).parent.parent/'tcl_nb'/'assets'/'smallworld'

# word -> short name in emoji-datasource, where the two differ
ODD = {'backpack': 'school_satchel', 'cake': 'birthday', 'castle': 'european_castle', 'cheese': 'cheese_wedge', 'cherry': 'cherries',
       'clock': 'alarm_clock', 'diamond': 'gem', 'donut': 'doughnut', 'drum': 'drum_with_drumsticks', 'fish': 'tropical_fish',
       'book': 'green_book', 'fox': 'fox_face', 'giraffe': 'giraffe_face', 'hat': 'tophat', 'hot dog': 'hotdog', 'ice cream': 'icecream',
       'lion': 'lion_face', 'monkey': 'monkey_face', 'orange': 'tangerine', 'palm tree': 'palm_tree', 'panda': 'panda_face',
       'pumpkin': 'jack_o_lantern', 'robot': 'robot_face', 'shoe': 'athletic_shoe', 'snowman': 'snowman_without_snow',
       'soccer ball': 'soccer', 'squirrel': 'chipmunk', 'teddy bear': 'teddy_bear', 'television': 'tv', 'train': 'steam_locomotive',
       'tree': 'deciduous_tree', 'zebra': 'zebra_face'}
WORDS = sorted([*ODD, *'''airplane apple avocado balloon banana basketball bear bee bird boat broccoli bus butterfly cactus camera
    car carrot cat chicken computer cow crab crown dog dress duck eggplant elephant fire fries frog ghost gift grapes guitar hamburger
    heart hedgehog helicopter horse house ladybug lemon magnet mushroom octopus pear penguin pig pineapple pizza popcorn rabbit
    rainbow rocket rose scissors shirt skull snail snake spider star strawberry sunflower taco tent tiger tomato tractor trophy
    turtle umbrella volcano watermelon whale'''.split()])

def pictures(google, twitter, fluent):
    "The drawings of every word in every design, in the atlas's order"
    with tarfile.open(google) as g, tarfile.open(twitter) as t, tarfile.open(fluent) as f:
        table = {e['short_name']: e for e in json.load(g.extractfile('package/emoji.json'))}
        webp = {n.rsplit('/', 1)[-1].removesuffix('.webp').replace('-fe0f', ''): n for n in f.getnames() if n.endswith('.webp')}
        for word in WORDS:
            image = table[ODD.get(word, word)]['image']
            code = image.removesuffix('.png').replace('-fe0f', '')
            for tar, name in ((g, f'package/img/google/64/{image}'), (t, f'package/img/twitter/64/{image}'), (f, webp[code])):
                yield Image.open(io.BytesIO(tar.extractfile(name).read()))

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    for name in ('google', 'twitter', 'fluent'): ap.add_argument(name, help=f'npm tarball with the {name} drawings')
    args = ap.parse_args()
    tiles = tile_pictures(pictures(args.google, args.twitter, args.fluent)).numpy()
    n, cols = tiles.shape[-1], 18
    rows = -(-len(tiles)//cols)
    tiles = np.concatenate([tiles, np.zeros((rows*cols-len(tiles), *tiles.shape[1:]), np.uint8)])
    sheet = tiles.reshape(rows, cols, 4, n, n).transpose(0, 3, 1, 4, 2).reshape(rows*n, cols*n, 4)
    OUT.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(OUT/'atlas.png', optimize=True)
    (OUT/'atlas.json').write_text(json.dumps({'tile': n, 'grid': [rows, cols], 'designs': DESIGNS, 'words': WORDS}, indent=0) + '\n')
    print(f'{len(WORDS)} words in {len(DESIGNS)} designs: {(OUT/"atlas.png").stat().st_size/1e6:.2f} MB')

if __name__ == '__main__': main()
