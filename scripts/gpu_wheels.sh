#!/usr/bin/env bash
# Collects the packages that `make test-gpu` needs on a GPU machine without a network, except torch, torchvision, numba
# and what these bring: wheels of CPython 3.12 for Linux on x86-64, 64 MiB at most together with the checkout. Curves and
# TensorBoard are not drawn in the checks, so that matplotlib and tensorboard are not needed.
# usage: scripts/gpu_wheels.sh [FOLDER]          (default: .gpu-wheels; PYTHON chooses the interpreter that has pip)
# There: bash scripts/gpu_offline.sh [FOLDER] -- --output gpu_results
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.gpu-wheels}
python=${PYTHON:-python3}

# What `kinema train` imports, at once or when it is used; pytorchvideo and what its models import are for the peers.
packages=(
  absl-py annotated-types av docstring-parser filelock fsspec jinja2 lightning-utilities markupsafe packaging pydantic
  pymemcache pyyaml rich pygments markdown-it-py mdurl safetensors shtab simplejpeg torchmetrics typeguard
  typing-extensions typing-inspection tyro iopath portalocker tqdm yacs termcolor tabulate parameterized
)
built=(pytorchvideo==0.1.5 fvcore iopath)
limit=$((52 * 1024 * 1024)) # the checkout has to fit beside them

rm -rf "$folder"
mkdir -p "$folder"
download() {
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_5_x86_64 \
    --platform manylinux1_x86_64 --dest "$folder" "$@"
}
for name in "${packages[@]}"; do
  case " ${built[*]} " in *" $name "*) continue ;; esac
  download -c <(grep -i "^${name}==" constraints.txt || true) "$name"
done
# Each pydantic works with one pydantic-core only.
core=$(unzip -p "$folder"/pydantic-*.whl '*/METADATA' | sed -n 's/^Requires-Dist: pydantic-core==\([0-9.]*\).*/\1/p')
download "pydantic-core==$core"
for name in "${built[@]}"; do # pure Python, distributed as source
  "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$folder" "$name"
done
size() { du -cb "$folder"/*.whl | tail -1 | cut -f1; }
echo "$(ls "$folder" | wc -l) wheels, $(($(size) / 1024 / 1024)) MiB in $folder"
test "$(size)" -le "$limit"
