"""Record what the code of ActionFormer and TriDet computes: outputs, losses, gradients and candidates.

Networks are narrow and sequences short; levels, windows, heads, losses and decoding are those of the tools'
configuration files. Writes `tests/models/foreign_numbers/TOOL.json`.

    python -m benchmarks.foreign_numbers.detectors actionformer actionformer_release
    python -m benchmarks.foreign_numbers.detectors tridet TriDet

Run it from the root of this repository with a Python that has torch and PyYAML. The compiled suppression of the tools
is not needed: it is replaced by a stub.
"""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from benchmarks.foreign_numbers.stubs import Stubs
from tests.models import parity
from torch import Tensor

OUTPUT = Path("tests/models/foreign_numbers")
CHANNELS, WIDTH, LENGTH = 16, 32, 192
LENGTHS = (131, 60)
STEP = 7
"""Every how many points outputs are written."""

SEGMENTS = (
    ((-1.25, 3.5), (10.0, 14.0), (13.3, 20.7), (40.0, 71.9), (40.0005, 71.9), (90.0, 126.5), (125.0, 133.0)),
    ((5.0, 7.5), (30.0, 46.0), (30.0, 46.0), (20.0, 59.0)),
)
LABELS = ((0, 1, 2, 1, 0, 2, 1), (1, 2, 2, 1))

RULES = (
    (r"\.bias$", "0.1z"),
    (r"(\.ln|\.ln1|\.ln2|\.gn|_norm|norm\.\d+|fpn_norms\.\d+)\.weight$", "1+0.1z"),
    (r"\.scale$", "1+0.1z"),
    (r"\.attn\.(key|query|value|proj)\.weight$", "z*sqrt(1/fan_in)"),
    (">=2-D", "z*sqrt(2/fan_in)"),
)
"""Weights, see `tests.models.parity.ruled_state_dict`."""

CONFIGS = {"actionformer": ("anet_tsp", "thumos_i3d"), "tridet": ("thumos_i3d", "anet_tsp")}
NARROW = {"input_dim": CHANNELS, "embd_dim": WIDTH, "fpn_dim": WIDTH, "head_dim": WIDTH, "max_seq_len": LENGTH}


def main(tool: str, checkout: str) -> None:
    sys.path.insert(0, checkout)
    sys.modules["nms_1d_cpu"] = ModuleType("nms_1d_cpu")
    sys.meta_path.append(Stubs())
    torch.set_num_threads(1)
    cases = [_case(tool, checkout, name) for name in CONFIGS[tool]]
    (OUTPUT / f"{tool}.json").write_text(json.dumps({"tool": tool, "rules": RULES, "cases": cases}) + "\n")


def _case(tool: str, checkout: str, name: str) -> dict[str, Any]:
    from libs.core import load_config
    from libs.modeling import make_meta_arch

    config = load_config(f"{checkout}/configs/{name}.yaml")
    classes = 1 if config["dataset"]["num_classes"] == 1 else 3
    options = config["model"] | NARROW | {"num_classes": classes}
    if tool == "tridet":
        options |= {"sgp_mlp_dim": 2 * WIDTH, "input_noise": 0.0}
    elif isinstance(options["n_mha_win_size"], int):
        options["n_mha_win_size"] = 7  # the configuration's 19 needs sequences of 576
    network = make_meta_arch(config["model_name"], **options)
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    network.load_state_dict(parity.ruled_state_dict(shapes, RULES))
    videos = [
        {
            "feats": torch.from_numpy(
                np.random.RandomState(seed).standard_normal((CHANNELS, length)).astype(np.float32)
            ),
            "segments": torch.tensor(segments),
            "labels": torch.tensor(labels) % classes,
        }
        for seed, (length, segments, labels) in enumerate(zip(LENGTHS, SEGMENTS, LABELS, strict=True))
    ]
    for module in network.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    outputs = [_outputs(network, video) for video in videos]
    candidates = [_candidates(network, video) for video in videos]
    before = network.loss_normalizer
    losses = network.train()(videos)
    losses["final_loss"].backward()
    norms = {key: p.grad.double().norm().item() for key, p in network.named_parameters() if p.grad is not None}
    return {
        "name": name,
        "classes": classes,
        "model": {key: value for key, value in config["model"].items() if not isinstance(value, dict)},
        "shapes": shapes,
        "outputs": outputs,
        "candidates": candidates,
        "normalizer": [before, network.loss_normalizer],
        "losses": {key: value.item() for key, value in losses.items()},
        "grad_norm": norms,
    }


def _heads(network: Any, video: dict[str, Any]) -> tuple[list[list[Tensor]], list[Tensor]]:
    """Return the (T, …) outputs of each head at each level, and the masks."""
    network.eval()
    inputs, mask = network.preprocessing([video])
    features, masks = network.neck(*network.backbone(inputs, mask))
    heads = [network.cls_head, network.reg_head]
    heads += [network.start_head, network.end_head] if hasattr(network, "start_head") else []
    return [[level[0].T for level in head(features, masks)] for head in heads], [mask[0, 0] for mask in masks]


@torch.no_grad()
def _outputs(network: Any, video: dict[str, Any]) -> list[dict[str, Any]]:
    """Return, for each level, the number of valid points, and of each head its outputs at some points and sums."""
    heads, masks = _heads(network, video)
    return [
        {
            "valid": int(mask.sum()),
            "heads": [_numbers(head[level][mask][::STEP]) for head in heads],
            "sums": [head[level][mask].double().abs().sum().item() for head in heads],
        }
        for level, mask in enumerate(masks)
    ]


@torch.no_grad()
def _candidates(network: Any, video: dict[str, Any]) -> dict[str, Any]:
    """Return the number of candidates before suppression, and every so many of them, by falling score."""
    heads, masks = _heads(network, video)
    points = network.point_generator([level.T[None] for level in heads[0]])
    logits, offsets, *boundaries = heads
    extra = [[level.T for level in head] for head in boundaries]  # (classes, T)
    found = network.inference_single_video(points, masks, logits, offsets, *extra)
    order = found["scores"].argsort(descending=True, stable=True)
    return {"count": len(order)} | {
        key: _numbers(value[order].float()[: 40 * STEP : STEP]) for key, value in found.items()
    }


def _numbers(values: Tensor) -> Any:
    return np.vectorize(lambda value: float(f"{value:.8g}"), otypes=[float])(values.double().numpy()).tolist()


if __name__ == "__main__":
    main(*sys.argv[1:])
