"""MMAction2's own training data, its dataset and transforms as its configs name them: a child of `peers_data.py`.

Runs in a virtual environment of its own, without Kinema:

    pip install torch mmaction2==1.2.0 mmengine mmcv-lite decord==0.6.0 opencv-python-headless importlib-metadata

Reads requests from its standard input, a line of JSON each, {"config", "kind", "list", "root", "batches", "seed",
"workers"}, where batches are lists of rows, and answers with the seconds of CPU time of all its processes for each:
batches of its dataset through torch's loader and its own collation, as its runner builds them, stacked as its data
preprocessor does.
Rawframes take the config's pipeline with MMAction2's decoder of images in place of decord's of videos. Its workers have
no threads (`opencv_num_threads` and OMP's), hence one of each here.
"""

import json
import multiprocessing
import os
import random
import sys
import time
import types
from functools import cache
from itertools import pairwise
from pathlib import Path

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # mmengine's logger writes to the standard output

import cv2  # noqa: E402
import mmcv  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

mmcv.__version__ = "2.1.0"  # mmaction2 refuses the 2.2.0 that there is
for name in ("mmaction.models.localizers.drn", "mmaction.models.localizers.drn.drn"):  # not in its wheel
    sys.modules[name] = types.ModuleType(name)
sys.modules[name].DRN = type("DRN", (), {})

import mmaction  # noqa: E402
from mmaction.registry import DATASETS  # noqa: E402
from mmaction.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.dataset import pseudo_collate  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402


@cache
def dataset(config, kind, listing, root):
    pipeline = list(Config.fromfile(str(Path(mmaction.__file__).parent / ".mim/configs" / config)).train_pipeline)
    options = {"type": "VideoDataset", "data_prefix": {"video": root}}
    if kind == "rawframes":
        steps = [step for step in pipeline if step["type"] != "DecordInit"]
        pipeline = [{"type": "RawFrameDecode"} if step["type"] == "DecordDecode" else step for step in steps]
        options = {"type": "RawframeDataset", "data_prefix": {"img": root}, "filename_tmpl": "img_{:05}.jpg"}
    return DATASETS.build({**options, "ann_file": listing, "pipeline": pipeline})


def batches_of(samples, batches, workers):
    loader = DataLoader(samples, batch_sampler=batches, num_workers=workers, collate_fn=pseudo_collate)
    for batch in loader:
        yield torch.stack(batch["inputs"])


def cpu_seconds():
    """Of this process and its workers."""
    ticks = os.sysconf("SC_CLK_TCK")
    own = time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        own += (int(fields[11]) + int(fields[12])) / ticks
    return own


def main():
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    register_all_modules()
    for line in sys.stdin:
        request = json.loads(line)
        samples = dataset(request["config"], request["kind"], request["list"], request["root"])
        random.seed(request["seed"])
        np.random.seed(request["seed"])
        marks = [cpu_seconds()]
        marks += [cpu_seconds() for _ in batches_of(samples, request["batches"], request["workers"])]
        print(json.dumps([after - before for before, after in pairwise(marks)]), file=ANSWERS, flush=True)


main()
