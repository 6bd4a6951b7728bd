"""Make the project's environment and run the demo or the tests in it; only Python is needed on the machine.

    python3 Testing/run.py demo [options of fewshot-annotate demo]
    python3 Testing/run.py test [options of pytest]

The environment is `.venv` at the root; it is made once and brought up to date when pyproject.toml changes.
The tests run in several processes; `test -n 0` runs them in one. They need nothing beside this folder;
`test -m shared_data` runs those that need the volumes of $FEWSHOT_DATA or ../shared/data.
On Windows write `py` for `python3`.
"""

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
OLDEST = (3, 11)
# The newest Python that slicer-core==5.12.4.0, which the tests need, has wheels for.
NEWEST_FOR_TESTS = (3, 13)
# Approximate sizes in MB, for Linux and Python 3.11: of the files that `pip download .[KIND]` downloads, and of the
# resulting `.venv` with compiled Python files.
SIZES = {"demo": (150, 750), "demo,adapt": (350, 1500), "test": (760, 3200)}
# One process more than cores, up to four, because many tests wait for processes that they start. All tests of a file
# run in the same process, because they share fixtures. Files run in the order of their names; by default xdist starts
# with the files that have most tests, which are not the slowest.
PROCESSES = min(4, (os.cpu_count() or 1) + 1)
# One thread in each: more would wait for each other, since all cores are busy.
ONE_THREAD = dict.fromkeys(
    (
        "FEWSHOT_ANNOTATE_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
        "MKL_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
    ),
    "1",
)
SEVERAL_PROCESSES = (f"--numprocesses={PROCESSES}", "--dist=loadfile", "--no-loadscope-reorder")


def main(arguments):
    """Run the command; returns the exit code."""
    if not arguments or arguments[0] not in ("demo", "test"):
        print(__doc__)
        return 2
    kind, *rest = arguments
    if sys.version_info[:2] < OLDEST:
        print(
            f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {sys.version.split()[0]}.", file=sys.stderr
        )
        return 2
    if kind == "test" and sys.version_info[:2] > NEWEST_FOR_TESTS:
        return _rerun_with_older_python(arguments)
    needed = "demo,adapt" if kind == "demo" and _asks_for_adapt(rest) else kind
    if needed != kind and not _agreed(needed):
        print("Not installed; answer y, or run: python3 Testing/run.py demo", file=sys.stderr)
        return 2
    _make_environment(needed)
    commands = {"demo": [BIN / "fewshot-annotate", "demo"], "test": [PYTHON, "-m", "pytest", *SEVERAL_PROCESSES]}
    if kind == "demo" and not any(word.startswith(("-o", "--out")) for word in rest):
        rest = [*rest, "--overwrite"]  # replaces the folder of an earlier demo
    # Compiled files are kept, whatever the user's settings: the tests start hundreds of processes.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if kind == "test":
        environment = {**ONE_THREAD, **environment}
    return subprocess.call([*map(str, commands[kind]), *rest], cwd=ROOT, env=environment)


def _asks_for_adapt(options):
    return "--engine=adapt" in options or ("--engine", "adapt") in itertools.pairwise(options)


def _agreed(kind):
    """Whether torch, which engine `adapt` needs, is installed or the user agrees to install it."""
    if _is_installed(kind):
        return True
    download, disk = SIZES[kind]
    try:
        answer = input(
            f"Engine adapt needs torch: about {download} MB to download, {disk} MB on the disk. Go on? [y/N] "
        )
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")


def _is_installed(kind):
    stamp = VENV / f"installed-{kind}"
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == _digest()


def _digest():
    return hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()


def _make_environment(kind):
    """Create `.venv` and install what `kind` needs, unless that was done for this very pyproject.toml."""
    if _is_installed(kind):
        return
    if not PYTHON.exists():
        print(f"Making {VENV} ...", flush=True)
        if subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)]):
            sys.exit("The environment could not be made; on Debian and Ubuntu install python3-venv first.")
    download, disk = SIZES[kind]
    print(f"Installing: about {download} MB to download, {disk} MB on the disk; pip shows the progress.", flush=True)
    began = time.monotonic()
    install = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-warn-script-location"]
    if subprocess.call([*install, "--editable", f"{ROOT}[{kind}]"]):
        sys.exit("pip could not install the packages; see its message above.")
    print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)
    (VENV / f"installed-{kind}").write_text(_digest())


def _rerun_with_older_python(arguments):
    """Run with an older Python, if there is one: slicer-core has no build for this one yet."""
    for minor in range(NEWEST_FOR_TESTS[1], OLDEST[1] - 1, -1):
        launcher = ["py", f"-3.{minor}"] if os.name == "nt" else [f"python3.{minor}"]
        works = shutil.which(launcher[0]) and not subprocess.call([*launcher, "-c", ""], stderr=subprocess.DEVNULL)
        if works:
            return subprocess.call([*launcher, __file__, *arguments])
    newest = ".".join(map(str, NEWEST_FOR_TESTS))
    print(f"The tests need Python 3.{OLDEST[1]} to {newest} (slicer-core has no newer build).", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
