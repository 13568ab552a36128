"""Use the explorer as a hand would, in a real browser, and look at the pixels it shows.

    python tools/browser_test.py [--lab] [--shots FOLDER] [--chromium PATH]

The explorer is served by tcl_explore (Voila), or with --lab stands in a notebook that JupyterLab runs. It needs a
Chromium (Debian: `apt-get install chromium`) and `pip install playwright`, which drives it; nothing else is downloaded.
Exit code 0: all is well; 1: something is not, said on the last line; 3: something that is needed is missing, and which.
"""
import argparse, base64, importlib.util, io, os, shutil, signal, socket, subprocess, sys, tempfile, time
from contextlib import contextmanager
from pathlib import Path
import nbformat, numpy as np
from PIL import Image

FLAGS = ('--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking '
         '--disable-component-update --disable-sync'.split())
BROWSERS = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
WAIT = 20 # seconds that a change may take

def missing(chromium, lab):
    "What is not there, or None"
    if chromium and not shutil.which(chromium): return f"no browser: '{chromium}' is not a program"
    if not chromium:
        return (f"no browser: none of {', '.join(BROWSERS)} is on the path; Debian has it as 'chromium', or give "
                "--chromium PATH")
    for module, package in (('playwright', 'playwright'), ('jupyterlab', 'jupyterlab') if lab else ('voila', 'voila'),
                            ('ipykernel', 'ipykernel'), ('anywidget', 'anywidget')):
        if importlib.util.find_spec(module) is None: return f'no {module}: pip install {package}'

def command(folder, port, lab):
    "What serves the explorer: (command, address or None if the command prints it)"
    if not lab:
        return [sys.executable, '-c', 'from tcl_nb.explorer import tcl_explore; tcl_explore()', '--no-browser',
                '--model', 'small', '--port', str(port), '--out', str(folder/'masks')], None
    cell = nbformat.v4.new_code_cell("from tcl_nb.explorer import Explorer\nfrom tcl_nb.segmentation import "
                                     "Segmenter\nExplorer(Segmenter.from_pretrained('small'), "
                                     f"out={str(folder/'masks')!r})")
    kernel = dict(name='python3', display_name='Python 3', language='python')
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=dict(kernelspec=kernel)), folder/'try.ipynb')
    address = f'http://127.0.0.1:{port}/lab/tree/try.ipynb'
    return [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root', f'--port={port}', '--port-retries=0',
            '--IdentityProvider.token=test', f'--ServerApp.root_dir={folder}'], f'{address}?token=test'

@contextmanager
def server(folder, lab):
    "The explorer's server on a free port, ended whatever happens; gives the page's address"
    with socket.create_server(('127.0.0.1', 0)) as s: port = s.getsockname()[1]
    root = Path(__file__).resolve().parent.parent
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(root), os.environ.get('PYTHONPATH', '')])}
    log = open(folder/'server.log', 'w+')
    line, address = command(folder, port, lab)
    process = subprocess.Popen(line, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=log, text=True,
                               start_new_session=True)
    try:
        if not lab:
            line = process.stdout.readline() # 'tcl_explore: http://…  (Ctrl-C stops it)'
            if 'http' not in line:
                raise AssertionError(f"tcl_explore did not start: {(folder/'server.log').read_text()[-500:] or line}")
            address = line.split()[1]
        wait_for(lambda: is_open(port), 'the server answers', 30)
        yield address
    finally:
        process.terminate() # ends its kernels too
        try: process.wait(8)
        except subprocess.TimeoutExpired: pass
        try: os.killpg(process.pid, signal.SIGKILL) # whatever is left of its group
        except ProcessLookupError: pass
        process.wait()
        log.close()

def is_open(port):
    try:
        socket.create_connection(('127.0.0.1', port), .2).close()
        return True
    except OSError: return False

def wait_for(true, what, seconds=WAIT):
    "Wait until something is true, and say how long it took; an AssertionError names what did not happen"
    start = time.time()
    while not (value := true()):
        if time.time() - start > seconds: raise AssertionError(f'not within {seconds} s: {what}')
        time.sleep(.02)
    return value

class Page:
    "The explorer's page, in the words of the test"
    def __init__(self, page, shots): self.page, self.shots, self.number = page, shots, 0
    def pixels(self, side='left'):
        "[H,W,3] of a picture as the browser has drawn it"
        url = self.page.locator(f'.tcl-frame canvas.tcl-{side}').evaluate("canvas => canvas.toDataURL('image/png')")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(',')[1]))).convert('RGB')).astype(int)
    def screen(self):
        picture = Image.open(io.BytesIO(self.page.locator('.tcl-frame').screenshot()))
        return np.asarray(picture.convert('RGB')).astype(int)
    def text(self): return self.page.inner_text('body')
    def field(self, label):
        return self.page.locator('.widget-inline-hbox', has=self.page.locator('label', has_text=label)).first
    def handle(self, label): return self.field(label).locator('.noUi-handle')
    def type(self, words):
        box = self.field('words').locator('input')
        box.fill(words)
        box.press('Enter')
    def says(self, what): wait_for(lambda: what in self.text(), f'the page says “{what}”')
    def settle(self):
        "Wait until the left picture has stayed the same for a while"
        def same():
            before = self.pixels()
            self.page.wait_for_timeout(300)
            return np.array_equal(before, self.pixels())
        wait_for(same, 'the picture comes to rest')
    def shot(self, name):
        self.number += 1
        if self.shots:
            picture = Image.open(io.BytesIO(self.page.screenshot())).convert('RGB').quantize(256)
            picture.save(self.shots/f'{self.number}_{name}.png', optimize=True)

    @contextmanager
    def changes(self, what, really=True):
        "The left picture changes here, or does not"
        before, start = self.pixels(), time.time()
        yield
        def differs():
            now = self.pixels()
            return now.shape != before.shape or np.abs(now - before).max() > 40
        if really: wait_for(differs, f'{what} changes the picture')
        else:
            self.settle()
            assert not differs(), f'{what} must not change the picture'
        print(f'  {what}: picture {"changed" if really else "stayed"}, {time.time()-start:.2f} s', flush=True)

def words(p):
    "Typing words labels other pixels; an unknown word is answered by a line"
    with p.changes('typing words'): p.type('cake, snake')
    p.says('2 snake')
    with p.changes('an unknown word', False):
        p.type('cake, snaek')
        p.says("unknown word 'snaek'")
    p.shot('unknown')
    with p.changes('a class of two names'):
        p.type('fruit=strawberry,pear; snake, cake, brick')
        p.says('1 fruit')
    p.shot('words')

def threshold(p):
    "The threshold, moved by keys; at its end all is background"
    handle = p.handle('threshold')
    handle.focus()
    for _ in range(3):
        with p.changes('one key on the threshold'): handle.press('PageUp')
    p.shot('threshold')
    handle.press('End')
    p.says('background 100%')
    p.settle()
    bare = p.pixels()
    with p.changes('opacity with nothing to colour', False): p.handle('opacity').press('PageUp')
    with p.changes('the threshold back'):
        for _ in range(14): handle.press('PageDown') # 0.05 each
    wait_for(lambda: np.abs(p.pixels() - bare).mean() > 5, 'colours are back')
    p.settle()

def pixel(p):
    "A click shows scores and the winner's map, and puts the ring there"
    map_ = p.page.locator('img.widget-image')
    assert not map_.is_visible()
    box = p.page.locator('.tcl-frame').bounding_box()
    with p.changes('a click', False):
        p.page.mouse.click(box['x'] + .7*box['width'], box['y'] + .75*box['height'])
        p.says('map of “cake”')
    assert map_.is_visible()
    first = map_.get_attribute('src')
    ring = p.page.locator('.tcl-ring').bounding_box()
    assert abs(ring['x'] + ring['width']/2 - box['x'] - .7*box['width']) < 2, 'the ring is where the click was'
    assert p.field('pixel x').locator('.widget-readout').inner_text() == '44', 'the slider follows'
    p.shot('pixel')
    p.page.mouse.click(box['x'] + .2*box['width'], box['y'] + .85*box['height'])
    wait_for(lambda: map_.get_attribute('src') != first, 'another word’s map')
    p.handle('pixel x').focus()
    at = p.page.locator('.tcl-ring').bounding_box()['x']
    p.handle('pixel x').press('ArrowRight')
    wait_for(lambda: p.page.locator('.tcl-ring').bounding_box()['x'] > at, 'the ring follows the slider')

def swipe(p):
    "The line parts two systems: what it passes over changes, and nothing else"
    p.page.locator('.widget-dropdown select').nth(2).select_option('maskclip')
    wait_for(lambda: p.page.locator('.tcl-line').is_visible(), 'the swipe’s line')
    p.settle()
    p.shot('swipe')
    before, box = p.screen(), p.page.locator('.tcl-frame').bounding_box()
    w = before.shape[1]
    assert np.abs(p.pixels('right') - p.pixels()).max() > 40, 'two systems, two pictures'
    line = p.page.locator('.tcl-line').bounding_box()
    y = box['y'] + .35*box['height']
    p.page.mouse.move(line['x'] + line['width']/2, y)
    p.page.mouse.down()
    p.page.mouse.move(box['x'] + .8*box['width'], y, steps=5)
    p.page.mouse.up()
    p.settle()
    moved = np.abs(p.screen() - before).max(2)
    clear = 12 # pixels beside the line
    assert (moved[:, w//2+clear:int(.8*w)-clear] > 40).mean() > .05, 'the picture under the moved line changes'
    assert (moved[40:, int(.8*w)+clear:] > 40).sum() == 0, 'the rest stays'
    assert (moved[40:, :w//2-clear] > 40).sum() == 0, 'the rest stays'
    p.page.locator('.tcl-bar').focus()
    at = p.page.locator('.tcl-line').bounding_box()['x']
    p.page.keyboard.press('ArrowLeft')
    wait_for(lambda: p.page.locator('.tcl-line').bounding_box()['x'] < at, 'the swipe hears keys')
    print('  swipe: changed between the line’s places only', flush=True)

def upload(p, folder):
    "A good file is shown; a broken one is not, and is named"
    picture = np.zeros((90, 120, 3), np.uint8)
    picture[..., 0] = 220
    picture[30:60, 40:80] = (20, 60, 230)
    Image.fromarray(picture).save(folder/'mine.png')
    whole = (folder/'mine.png').read_bytes()
    (folder/'broken.png').write_bytes(whole[:len(whole)//2])
    def choose(path):
        with p.page.expect_file_chooser() as chooser: p.page.locator('.jupyter-widgets.widget-upload').click()
        chooser.value.set_files(path)
    with p.changes('a broken upload', False):
        choose(folder/'broken.png')
        p.says("cannot read a picture from 'broken.png'")
    p.shot('broken')
    p.handle('threshold').press('End')
    with p.changes('an upload'): choose(folder/'mine.png')
    wait_for(lambda: p.pixels().shape[:2] == (448, 597), 'the picture is as large as the page has it')
    shown = p.pixels()
    assert np.abs(shown[20, 20] - (220, 0, 0)).max() < 12, 'its colours'
    assert np.abs(shown[224, 298] - (20, 60, 230)).max() < 12, 'its colours'
    assert p.page.locator('.widget-dropdown select').first.input_value() == 'mine.png'
    p.shot('upload')

def save(p, folder):
    "Buttons write files"
    p.page.get_by_text('save masks').click()
    p.says("mine_TCL_labels.png")
    assert (folder/'masks'/'mine_TCL_labels.png').exists()

def open_lab(page):
    "Run the notebook's cell"
    page.locator('.jp-Notebook .jp-Cell').first.click(timeout=60000)
    page.wait_for_selector('.jp-Toolbar-kernelName:has-text("Python")', timeout=60000)
    page.keyboard.press('Control+Enter')
    page.keyboard.press('Control+B') # without the file browser there is room for the widgets

def run(chromium, shots, folder, lab):
    from playwright.sync_api import sync_playwright
    with server(folder, lab) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            page = browser.new_page(viewport=dict(width=1000, height=1500 if lab else 920))
            page.set_default_timeout(1000*WAIT)
            wrong = []
            page.on('pageerror', lambda e: wrong.append(str(e)))
            bare = page.request.get(url.split('?')[0], max_redirects=0)
            assert bare.status in (302, 401,
                                   403), f'without its key the page must not open, but the server answers {bare.status}'
            page.goto(url, wait_until='commit', timeout=45000)
            if lab: open_lab(page)
            page.wait_for_selector('.tcl-frame canvas.tcl-left', timeout=45000)
            p = Page(page, shots)
            p.settle()
            p.shot('start')
            for step, *more in ((words,), (threshold,), (pixel,), (swipe,), (upload, folder), (save, folder)):
                print(step.__name__, flush=True)
                step(p, *more)
            assert not wrong, f'the page’s script failed: {wrong[0]}'
        finally: browser.close()

def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    ap.add_argument('--lab', action='store_true', help='in JupyterLab, not by tcl_explore')
    ap.add_argument('--shots', type=Path, help='folder for screenshots')
    ap.add_argument('--chromium', default=next(filter(None, map(shutil.which, BROWSERS)), None),
                    help='the browser (default: the first on the path)')
    args = ap.parse_args()
    lacking = missing(args.chromium, args.lab)
    if lacking:
        print(f'browser_test: skipped, {lacking}')
        sys.exit(3)
    if args.shots: args.shots.mkdir(parents=True, exist_ok=True)
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        try: run(args.chromium, args.shots, Path(folder), args.lab)
        except Exception as e:
            print(f'browser_test: failed after {time.time()-start:.0f} s: {e}')
            sys.exit(1)
    print(f'browser_test: all is well, {time.time()-start:.0f} s')

if __name__ == '__main__': main()
