#!/usr/bin/env bash
# Runs the GPU checks where there is no network: installs what is missing from the wheels of scripts/gpu_wheels.sh into a
# folder of its own, and starts `python -m benchmarks.gpu`. Nothing else on the machine is changed.
# usage: scripts/gpu_offline.sh [WHEELS] [-- OPTIONS]          (PYTHON chooses the interpreter that has torch)
set -euo pipefail
cd "$(dirname "$0")/.."
wheels=.gpu-wheels
if [ $# -gt 0 ] && [ "$1" != -- ]; then wheels=$1; shift; fi
if [ "${1:-}" = -- ]; then shift; fi
python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT

missing=$("$python" - "$wheels" <<'PYTHON'
import re, sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

def numbers(text):
    return [int(part) for part in re.findall(r"\d+", text)][:2]

wanted = {}  # the least versions that Kinema asks for
for name, least in re.findall(r'"([\w-]+)>=([\d.]+)"', Path("pyproject.toml").read_text()):
    wanted.setdefault(name.lower().replace("_", "-"), least)
for wheel in sorted(Path(sys.argv[1]).glob("*.whl")):
    name = wheel.name.split("-")[0].replace("_", "-").lower()
    try:
        there = version(name)
    except PackageNotFoundError:
        there = ""
    # pydantic needs the pydantic-core of its own release, so both come from one place.
    if not there or numbers(there) < numbers(wanted.get(name, "0")) or name in ("pydantic", "pydantic-core"):
        print(wheel)
PYTHON
)
if [ -n "$missing" ]; then
  # shellcheck disable=SC2086
  "$python" -m pip install --quiet --no-index --find-links "$wheels" --no-deps --no-compile --no-cache-dir --target "$site" $missing
fi
export PYTHONPATH=$site:$PWD/src:$PWD PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=passive
"$python" -m benchmarks.gpu "$@"
