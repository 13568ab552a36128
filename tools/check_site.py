"""Render every page of the documentation without quarto, and look for what a reader would stumble over.

    python tools/check_site.py [--pages nbs/05_losses.ipynb …] [--shots DIR [--widths 390 1280] [--schemes light dark]]

nbdev's own processors prepare the pages (API pages through show_doc included), pandoc makes HTML of them, formulas as
MathML. Fails on a link, an anchor or a picture that leads nowhere, on a formula that pandoc cannot read, on markup that
shows as text, on a page that sidebar.yml does not list, and, where playwright and Debian's chromium are at hand, on a
page that scrolls sideways on a phone, 390 px wide. The pages lie in _proc/_pages afterwards; --shots takes pictures of
them, narrow and wide, light and dark.
"""
import argparse, html, importlib.util, itertools, json, os, re, shutil, subprocess, sys
from contextlib import contextmanager
from pathlib import Path
os.environ.setdefault('MPLBACKEND', 'agg')
import pypandoc, yaml

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT/'_proc'/'_pages'
STYLE = """
:root { color-scheme: light dark; --ink: #222; --page: #fff; --soft: #f4f4f4; --link: #2a5db0 }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --page: #222; --soft: #2d2d2d; --link: #8ab4f8 } }
body { color: var(--ink); background: var(--page); font: 16px/1.5 sans-serif; max-width: 780px; margin: 1rem auto;
       padding: 0 1rem }
a { color: var(--link) }
pre { background: var(--soft); padding: .5rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px }
img { background: white; max-width: 100% }
table { border-collapse: collapse; font-size: 14px }
td, th { border-bottom: 1px solid #8886; padding: .2rem .5rem; text-align: left }
nav { font-size: 13px }
"""

DIALECT = ('markdown-implicit_figures+tex_math_dollars+lists_without_preceding_blankline+autolink_bare_uris-citations'
           '-example_lists')
PHONE = 390 # The width of a usual phone's screen, in CSS pixels
CODE = r'<pre.*?</pre>|<code.*?</code>'

def text(value): return ''.join(value) if isinstance(value, list) else value

def fence(source, kind=''):
    ticks = '`'*max([3, *(len(t)+1 for t in re.findall('`{3,}', source))])
    return f'{ticks}{kind}\n{source.rstrip()}\n{ticks}'

def outputs(cell):
    "Outputs as pandoc's markdown"
    for out in cell.get('outputs', []):
        data = out.get('data', {})
        kind = next((k for k in ('image/png', 'image/jpeg') if k in data), None)
        if out['output_type'] == 'stream': yield fence(text(out['text']))
        elif kind: yield f'![](data:{kind};base64,{text(data[kind]).strip()})'.replace('\n', '')
        elif 'text/markdown' in data: yield text(data['text/markdown'])
        elif 'text/html' in data: yield f"```{{=html}}\n{text(data['text/html'])}\n```"
        elif 'text/plain' in data: yield fence(text(data['text/plain']))

def markdown(nb):
    "A processed notebook as pandoc's markdown"
    parts = []
    for cell in nb['cells']:
        source = text(cell['source']).strip()
        if cell['cell_type'] == 'markdown': parts.append(source)
        elif cell['cell_type'] == 'raw':
            parts.append(re.sub(r'^---\n.*?\n---$', lambda m: front(m[0]), source, flags=re.S))
        else:
            shown = re.sub(r'^#\|.*\n?', '', source, flags=re.M).strip()
            hidden = re.search(r'^#\|\s*echo:\s*false', source, re.M) or 'hide_input' in cell.get('metadata', {})
            if shown and not hidden: parts.append(fence(shown, 'python'))
            parts += outputs(cell)
    return '\n\n'.join(parts)

def front(block):
    "A page's head as markdown"
    values = yaml.safe_load(block.strip('-\n')) or {}
    return f"# {values.get('title', '')}\n\n*{values.get('description', '')}*"

def pages(cached=False):
    "Prepared notebooks, in a process of its own: name → notebook"
    if not (cached and (ROOT/'_proc'/'index.ipynb').exists()):
        prepare = "from nbdev.serve import proc_nbs\nif __name__ == '__main__': proc_nbs(force=True)"
        subprocess.run([sys.executable, '-c', prepare], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    found = [p for p in (ROOT/'_proc').rglob('*.ipynb') if PAGES not in p.parents]
    return {p.relative_to(ROOT/'_proc').as_posix(): json.loads(p.read_text(encoding='utf-8')) for p in sorted(found)}

def render(name, nb, complaints):
    "One page's HTML"
    source = re.sub(r'\]\(((?!\w+:)[^)#\s]+)\.ipynb', r'](\1.html', markdown(nb))
    # open_clip's names and the like keep their $; formulas are what Jupyter takes for one
    done = subprocess.run([pypandoc.get_pandoc_path(), '-f', DIALECT, '-t', 'html5', '--mathml', '--wrap=none'],
                          input=source, capture_output=True, text=True, encoding='utf-8')
    complaints += [f'{name}: {line}' for line in done.stderr.splitlines() if line.strip()]
    return done.stdout

def check(name, body, bodies, complaints):
    "Links, anchors, pictures, markup that shows"
    for target in re.findall(r'(?:href|src)="([^"]+)"', re.sub(CODE, '', body, flags=re.S)):
        target = html.unescape(target)
        if re.match(r'[a-z]+:', target): continue
        file, _, anchor = target.partition('#')
        page = (Path(name).parent/file).as_posix() if file else name
        page = os.path.normpath(page).replace(os.sep, '/')
        if page.endswith('.html'):
            page = page[:-5] + '.ipynb'
            if page not in bodies and not api(page):
                complaints.append(f'{name}: no page {target}')
                continue
            if anchor and page in bodies and not re.search(f'id="{re.escape(anchor)}"', bodies[page], re.I):
                complaints.append(f'{name}: no anchor {target}')
        elif file and not (ROOT/'nbs'/page).exists() and not (ROOT/page.removeprefix('../')).exists():
            complaints.append(f'{name}: no file {target}')
        elif not file and anchor and not re.search(f'id="{re.escape(anchor)}"', body, re.I):
            complaints.append(f'{name}: no anchor {target}')
    if found := re.search(r'.{0,30}`\]\(http.{0,30}', ''.join(re.findall(r'<pre.*?</pre>', body, flags=re.S))):
        complaints.append(f'{name}: a link in code: {html.unescape(found[0])!r}')
    unread = CODE + '|<math.*?</math>|<style.*?</style>|<script.*?</script>'
    seen = html.unescape(re.sub(r'<[^>]+>', ' ', re.sub(unread, '', body, flags=re.S)))
    for mark in (r'\]\(', r'\n\s*:::', r'\$\$', r'\*\*', r'</?(?:details|summary|img|a|b)\b', r'\n#\| ', r'!\['):
        if found := re.search(f'.{{0,30}}{mark}.{{0,30}}', seen):
            complaints.append(f'{name}: markup that shows: {found[0].strip()!r}')

def api(page):
    "Whether a page is a module's, as nbdev names them (core.html for 00_core)"
    stem = Path(page).stem
    return any(re.sub(r'^(\d\d|[A-Z])_', '', p.stem) == stem or p.stem == stem for p in (ROOT/'nbs').rglob('*.ipynb'))

@contextmanager
def chromium():
    "Debian's browser, driven by playwright; None where one of the two is missing"
    path = shutil.which('chromium')
    if not path or not importlib.util.find_spec('playwright'):
        yield None
        return
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=['--no-sandbox', '--disable-gpu'])
        yield browser
        browser.close()

# What reaches past the right edge of the window and no box around it scrolls
TOO_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? [] : [...document.body.querySelectorAll('*')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
    .filter(e => { for (let p = e.parentElement; p; p = p.parentElement)
                       if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return false
                   return true })
    .map(e => `<${e.tagName.toLowerCase()}> ${Math.round(e.getBoundingClientRect().right)} px wide: `
              + (e.textContent || e.alt || '').trim().slice(0, 60))"""

def measure(names, browser, complaints):
    "Complain of pages that scroll sideways on a phone"
    page = browser.new_page(viewport=dict(width=PHONE, height=800))
    for name in names:
        page.goto((PAGES/name).with_suffix('.html').as_uri())
        wide = page.evaluate('document.documentElement.scrollWidth')
        if wide <= PHONE: continue
        complaints.append(f'{name}: {wide} px wide on a screen of {PHONE}; {(page.evaluate(TOO_WIDE) or ["?"])[-1]}')
    page.close()

def shoot(names, browser, folder, widths, schemes):
    "Pictures of whole pages: PAGE_WIDTH_SCHEME.jpg"
    folder.mkdir(parents=True, exist_ok=True)
    for width, scheme in itertools.product(widths, schemes):
        page = browser.new_page(viewport=dict(width=width, height=1000), color_scheme=scheme)
        for name in names:
            page.goto((PAGES/name).with_suffix('.html').as_uri())
            file = folder/f"{Path(name).with_suffix('').as_posix().replace('/', '_')}_{width}_{scheme}.jpg"
            page.screenshot(path=file, full_page=True, type='jpeg', quality=60)
        page.close()

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--pages', nargs='+', help='only these')
    ap.add_argument('--shots', type=Path, help='folder for pictures of the pages')
    ap.add_argument('--widths', nargs='+', type=int, default=[PHONE, 1280], metavar='PX',
                    help='of the pictures (default: 390 1280)')
    ap.add_argument('--schemes', nargs='+', choices=('light', 'dark'), default=['light', 'dark'],
                    help='of the pictures (default: both)')
    ap.add_argument('--prepared', action='store_true', help='take the notebooks that an earlier run left in _proc')
    args = ap.parse_args()
    complaints = []
    nbs = pages(args.prepared)
    bodies = {name: render(name, nb, complaints) for name, nb in nbs.items()}
    listed = re.findall(r'[\w/]+\.ipynb', (ROOT/'nbs'/'sidebar.yml').read_text())
    complaints += [f'{name}: not in sidebar.yml'
                   for name in nbs if Path(name).stem not in {Path(n).stem for n in listed}]
    menu = ' · '.join(f'<a href="{{up}}{Path(n).with_suffix(".html")}">{Path(n).stem}</a>' for n in listed)
    style = STYLE + (ROOT/'nbs'/'styles.css').read_text()
    for name, body in bodies.items():
        check(name, body, bodies, complaints)
        target = (PAGES/name).with_suffix('.html')
        target.parent.mkdir(parents=True, exist_ok=True)
        up = '../'*name.count('/')
        head = f'<!doctype html><meta charset="utf-8"><title>{Path(name).stem}</title><style>{style}</style>'
        target.write_text(f'{head}<nav>{menu.replace("{up}", up)}</nav>{body}', encoding='utf-8')
    shutil.copytree(ROOT/'nbs'/'images', PAGES/'images', dirs_exist_ok=True)
    chosen = [n for n in nbs if not args.pages or any(Path(n).stem == Path(p).stem for p in args.pages)]
    with chromium() as browser:
        if browser:
            measure(chosen, browser, complaints)
            if args.shots: shoot(chosen, browser, args.shots, args.widths, args.schemes)
        else:
            print('no chromium or no playwright: widths are not measured, and no pictures are taken')
    complaints += ['no page at all: is another run at work in _proc?']*(not bodies)
    print('\n'.join(complaints) or f'{len(bodies)} pages rendered, nothing to complain about')
    sys.exit(bool(complaints))

if __name__ == '__main__': main()
