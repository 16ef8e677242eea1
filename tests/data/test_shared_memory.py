"""Loader workers where /dev/shm is as small as a container's may be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
import numpy as np, simplejpeg, torch
from kinema.data.samples import SampleKey
from kinema.data.crops import ViewCrops
from kinema.data.dataset import ViewDataset
from kinema.data.options import DataOptions
from kinema.data.lists.index import index_paths
from kinema.data.loader import EvalBatches, load
from kinema.data.sampling import Sampling
from kinema.data.views import Views
from kinema.errors import UserError

folder = Path(sys.argv[1])
for video in range(8):
    (folder / f"v{video}").mkdir()
    pixels = np.random.default_rng(video).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for number in range(8):
        (folder / f"v{video}" / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels))
index = index_paths([f"v{video}" for video in range(8)], [0] * 8, source=str(folder), root=str(folder))
views = Views(sampling=Sampling(clip_len=1, num_clips=8, joined=True), crops=ViewCrops(short_side=64, size=64))

def batches(workers):
    dataset = ViewDataset(index, views, DataOptions(source="rawframes"))
    return list(load(dataset, EvalBatches(8, 4), workers=workers))

for one, other in zip(batches(2), batches(0), strict=True):  # of 393,216 bytes each
    assert torch.equal(one.inputs, other.inputs) and torch.equal(one.rows, other.rows)
print("the same")
with open("/dev/shm/all", "wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
assert len(batches(0)) == 2
try:
    batches(2)
except UserError as error:
    print(error)
"""


def test_a_small_one_does_and_a_full_one_is_said(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a /dev/shm of one's own needs root and util-linux")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "media").mkdir()
    shell = 'mount -t tmpfs -o size=128k none /dev/shm && exec "$0" "$@"'
    command = [
        "unshare",
        "-m",
        "sh",
        "-c",
        shell,
        sys.executable,
        str(tmp_path / "program.py"),
        str(tmp_path / "media"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "the same"
    for word in ("/dev/shm", "--shm-size", "--data.workers 0"):
        assert word in second
