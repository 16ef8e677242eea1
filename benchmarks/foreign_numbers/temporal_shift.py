"""Networks of temporal-shift-module."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from benchmarks.foreign_numbers.cases import CLASSES, Case, case, fill
from tests.models import parity

NETWORKS: dict[str, dict[str, Any]] = {
    "tsn_r50": {"base_model": "resnet50", "num_segments": 3},
    "tsn_r18": {"base_model": "resnet18", "num_segments": 3},
    "tsn_r101": {"base_model": "resnet101", "num_segments": 3},
    "tsm_r50": {"base_model": "resnet50", "num_segments": 8, "is_shift": True},
    "tsm_r50_16": {"base_model": "resnet50", "num_segments": 16, "is_shift": True},
    "tsm_r18": {"base_model": "resnet18", "num_segments": 8, "is_shift": True},
    "tsm_r18_div4": {"base_model": "resnet18", "num_segments": 8, "is_shift": True, "shift_div": 4},
    "tsm_r101": {"base_model": "resnet101", "num_segments": 8, "is_shift": True},
    "tsm_mobilenetv2": {"base_model": "mobilenetv2", "num_segments": 8, "is_shift": True},
}


def cases(*_: Path) -> Iterator[Case]:
    from ops.models import TSN
    from ops.transforms import GroupNormalize

    TSN.print_spec = False  # its MobileNetV2 reads what nothing sets
    for name, options in NETWORKS.items():
        model = TSN(CLASSES, modality="RGB", pretrain="none", print_spec=False, partial_bn=False, **options)
        shapes = fill(model)
        normalize = GroupNormalize(model.input_mean, model.input_std)
        rows = []
        for clip in parity.pixels(3, options["num_segments"], 64):
            frames = clip.transpose(0, 1).reshape(-1, 64, 64).float() / 255
            rows.append(model(normalize(frames)[None])[0])
        shift = "shift{}_blockres".format(options.get("shift_div", 8)) if options.get("is_shift") else "TSN"
        file = f"TSM_kinetics_RGB_{options['base_model']}_{shift}_avg_segment{options['num_segments']}_e50.pth"
        yield case(name, options["num_segments"], shapes, torch.stack(rows), file=file)
