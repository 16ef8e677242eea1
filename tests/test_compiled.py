"""Compiling loops where numba finds no folder for what it has compiled."""

import os
import subprocess
import sys

PROGRAM = """
import torch
from torch import nn
from kinema.tasks.localization.soft_nms import soft_nms
from kinema.models.normalization import norm_relu
layer, x = nn.BatchNorm2d(8), torch.randn(2, 8, 5, 5).contiguous(memory_format=torch.channels_last)
out = norm_relu(layer, x)
out.sum().backward()
torch.testing.assert_close(out, nn.BatchNorm2d(8)(x).relu())
"""


def test_loops_are_compiled_where_nothing_may_be_written() -> None:
    environment = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "IPythonCacheLocator"}  # none but in a notebook's cell
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
