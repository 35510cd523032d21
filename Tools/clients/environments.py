# SPDX-License-Identifier: Apache-2.0
"""A Python environment per client, from PyPI, under .cache/clients: made once, and again when its list changes."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "clients"
REQUIREMENTS = Path(__file__).resolve().parent / "requirements"


class EnvironmentFailure(Exception):
    pass


def python_of(name: str) -> Path:
    """The interpreter of the environment NAME, which is installed first where it is not there yet."""
    wanted = REQUIREMENTS / f"{name}.txt"
    folder = CACHE / name
    python = folder / "bin" / "python"
    done = folder / "requirements.txt"
    if done.exists() and done.read_bytes() == wanted.read_bytes() and python.exists():
        return python
    print(f"clients: installing {name} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    venv.create(folder, with_pip=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r", wanted]
    result = subprocess.run([str(word) for word in install], capture_output=True, text=True)
    if result.returncode != 0:
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise EnvironmentFailure(f"pip could not install {name}: " + (lines[-1] if lines else "no reason given"))
    # Last, so that an interrupted installation is made again.
    shutil.copyfile(wanted, done)
    return python


def client_package(name: str) -> str:
    """The package that the environment is there for: the first line of its list, without its extras and version."""
    first = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()[0]
    return first.split("==")[0].split("[")[0]


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.stem for path in REQUIREMENTS.glob("*.txt")):
        try:
            print(python_of(name))
        except EnvironmentFailure as failure:
            sys.exit(f"clients: {failure}")
