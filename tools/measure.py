"""What the benchmarks share: the memory of a process, and a run of a benchmark's own script in a fresh one.

Memory is the process's highest resident memory during a call (VmHWM of /proc/self/status; Linux lets a process set this
mark back to its present memory, by /proc/self/clear_refs) less the resident memory before. Where there is no /proc, it
is by how much the call raises getrusage's ru_maxrss, which is too little by whatever the process had given back before.
"""
import json, os, resource, subprocess, sys, time
from contextlib import contextmanager
from pathlib import Path

def memory(key):
    "A number of /proc/self/status in bytes; where there is none, the highest resident memory so far"
    try: lines = Path('/proc/self/status').read_text().splitlines()
    except OSError: return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*(1 if sys.platform == 'darwin' else 1024)
    return next(int(l.split()[1])*1024 for l in lines if l.startswith(key))

def forget_peak():
    "Set the mark of the highest memory back to the present memory, where that is possible"
    try: Path('/proc/self/clear_refs').write_text('5')
    except OSError: pass

@contextmanager
def measuring(clock='wall'):
    """Yields a dict that has 'seconds' ('cpu': of the process's own
    time) and 'bytes', the extra memory, when the block is left"""
    now = time.process_time if clock == 'cpu' else time.perf_counter
    out = {}
    forget_peak()
    before, start = memory('VmRSS'), now()
    yield out
    out.update(seconds=now()-start, bytes=max(memory('VmHWM')-before, 4096))

def in_a_process(script, options, threads, version=None):
    """Run a script with options in a fresh Python process, with the package beside it
    or another version's folder → what its last line says, read as JSON"""
    root = str(Path(version or Path(script).resolve().parent.parent).resolve())
    env = {**os.environ, **dict.fromkeys(('OMP_NUM_THREADS', 'MKL_NUM_THREADS'), str(threads)),
           'PYTHONPATH': os.pathsep.join([root, os.environ.get('PYTHONPATH', '')])}
    done = subprocess.run([sys.executable, script, *map(str, options)], env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{Path(script).stem}: the process for {' '.join(map(str, options))} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])
