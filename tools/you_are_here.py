"""Draw where each chapter of Part I stands in the whole: nbs/images/here_NN.svg, or check that they are fresh.

    python tools/you_are_here.py [--check]

Boxes have a colour of their own and light text, so they can be read on a light page and on a dark one.
"""
import argparse, sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent/'nbs'/'images'
#: Chapter → what stands in its box, its column and its row
BOXES = {
    '01': ('world', 0, 1),
    '02': ('tower', 1, 1),
    '03': ('grounder', 2, 1),
    '04': ('masks', 3, 1),
    '05': ('losses', 4, 0),
    '09': ('training', 5, 0),
    '06': ('PAMR', 4, 2),
    '07': ('labels', 5, 2),
    '10': ('scores', 6, 2),
}
ARROWS = ('01', '02'), ('02', '03'), ('03', '04'), ('04', '05'), ('05', '09'), ('04', '06'), ('06', '07'), ('07', '10')
WIDTH, HEIGHT, STEP, ROW = 96, 52, 112, 62
BLUE, ORANGE, GREY = '#3b5f8a', '#c25a00', '#8a8a8a'

def corner(chapter):
    "Left and upper side of a box"
    _, column, row = BOXES[chapter]
    return 4 + STEP*column, 4 + ROW*row

def box(chapter, here):
    "A box with the chapter's number and what it is about"
    x, y = corner(chapter)
    colour, weight, size = (ORANGE, 'bold', 16) if chapter == here else (BLUE, 'normal', 18)
    middle = x + WIDTH/2
    return f'''<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{colour}"/>
<text x="{middle}" y="{y + 21}" font-size="17" font-weight="{weight}">{chapter}</text>
<text x="{middle}" y="{y + 43}" font-size="{size}" font-weight="{weight}">{BOXES[chapter][0]}</text>'''

def arrow(start, end):
    "A line from the right side of one box to the left side of another"
    x, y = corner(start)
    to_x, to_y = corner(end)
    return (f'<line x1="{x + WIDTH}" y1="{y + HEIGHT/2}" x2="{to_x - 5}" y2="{to_y + HEIGHT/2}" '
            f'stroke="{GREY}" stroke-width="3" marker-end="url(#tip)"/>')

def drawing(here):
    "The whole, with one chapter's box in orange"
    width, height = STEP*7, ROW*3
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
             f'<title>The whole book as a path; you are at {here}, {BOXES[here][0]}</title>',
             '<defs><marker id="tip" markerWidth="4" markerHeight="4" refX="2" refY="2" orient="auto">',
             f'<path d="M0,0 L4,2 L0,4 z" fill="{GREY}"/></marker></defs>',
             '<g text-anchor="middle" font-family="sans-serif" fill="#ffffff">']
    parts += [arrow(*ends) for ends in ARROWS]
    parts += [box(chapter, here) for chapter in BOXES]
    return '\n'.join([*parts, '</g>', '</svg>', ''])

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--check', action='store_true', help='write nothing; fail where a drawing is missing or stale')
    check = ap.parse_args().check
    stale = []
    for chapter in BOXES:
        path, text = FOLDER/f'here_{chapter}.svg', drawing(chapter)
        if path.is_file() and path.read_text(encoding='utf-8') == text: continue
        stale.append(path.name)
        if not check: path.write_text(text, encoding='utf-8')
    if stale: print('stale (python tools/you_are_here.py):' if check else 'written:', *stale)
    sys.exit(bool(check and stale))

if __name__ == '__main__': main()
