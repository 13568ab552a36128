"""Do the links and pictures in README.md, CONTRIBUTING.md, CHANGELOG.md and the notebooks lead to files that exist?

    python tools/check_links.py

Looks also for text below the title and description of a notebook's first cell, which nbdev leaves out of the site.
"""
import json, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"')

def slug(heading): return re.sub(r'[^\w\- ]', '', heading.lower()).strip().replace(' ', '-')

def prose(path):
    "A page's text without its code"
    if path.suffix == '.ipynb':
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        return '\n\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')
    return path.read_text(encoding='utf-8')

def broken(path):
    "Links of a page that lead nowhere"
    text = re.sub(r'```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$', '', prose(path), flags=re.S)
    for match in LINK.finditer(text):
        target = match[1] or match[2]
        if re.match(r'[a-z]+:', target): continue
        file, _, anchor = target.partition('#')
        page = (path.parent/file).resolve() if file else path
        if not page.exists():
            yield target
            continue
        if not anchor or page.suffix not in ('.md', '.ipynb'): continue
        headings = {slug(heading) for heading in re.findall(r'^#+ (.*)$', prose(page), re.M)}
        if slug(anchor.replace('-', ' ')) not in headings:
            yield target

def lost(path):
    "Text of a notebook's first cell that nbdev would drop"
    first = ''.join(json.loads(path.read_text(encoding='utf-8'))['cells'][0]['source'])
    return re.sub(r'^# .*\s*(?:> .*\s*)?', '', first)

def main():
    pages = [*ROOT.glob('*.md'), *(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)]
    listed = re.findall(r'[\w/]+\.ipynb', (ROOT/'nbs'/'sidebar.yml').read_text())
    bad = [f'{p.relative_to(ROOT)}: {t}' for p in sorted(pages) for t in broken(p)]
    bad += [f'nbs/sidebar.yml: {n}' for n in listed if not (ROOT/'nbs'/n).exists()]
    bad += [f'not in nbs/sidebar.yml: {p.name}'
            for p in pages if p.suffix == '.ipynb' and p.relative_to(ROOT/'nbs').as_posix() not in listed]
    bad += [f'{p.relative_to(ROOT)}: not on the site, since it stands in the first cell: {text[:60]!r}'
            for p in sorted(pages) if p.suffix == '.ipynb' and (text := lost(p))]
    print('\n'.join(bad) or f'{len(pages)} pages, no broken link')
    sys.exit(bool(bad))

if __name__ == '__main__': main()
