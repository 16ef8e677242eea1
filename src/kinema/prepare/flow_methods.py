"""Two ways to find optical flow: TV-L1 of OpenCV and RAFT of torchvision."""

import pickle
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast
from urllib.error import URLError

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import optical_flow

from kinema.errors import UserError

Method = Literal["tvl1", "raft_large", "raft_small"]
Flow = NDArray[np.float32]
"""(2, H, W): how many pixels each point of the first frame moves to the right, and down, to the second."""


@cache
def flow_method(method: Method, *, weights: str = "", device: str = "auto") -> Callable[[Tensor, Tensor], Flow]:
    """A function of two frames, each (H, W, 3) uint8 RGB; kept for the next call.

    Args:
        method: tvl1: Zach, Pock and Bischof 2007 as OpenCV has it, with its parameters; raft_large, raft_small: Teed
            and Deng 2020 as torchvision has it.
        weights: File of RAFT's weights; empty: torchvision's default ones, downloaded once.
        device: Where RAFT runs: auto, cpu or cuda.

    Raises:
        UserError: OpenCV is not installed, or the weights cannot be had or do not fit.
    """
    return _tvl1() if method == "tvl1" else _raft(method, weights, device)


def _tvl1() -> Callable[[Tensor, Tensor], Flow]:
    try:
        cv2: Any = import_module("cv2")
        algorithm = cv2.optflow.DualTVL1OpticalFlow_create()
    except (ImportError, AttributeError):
        raise UserError(
            "--method tvl1 needs OpenCV with its contributed modules: pip install 'kinema[flow]' "
            "(other opencv packages must be uninstalled first), or take --method raft_large"
        ) from None
    cv2.setNumThreads(1)

    def flow(first: Tensor, second: Tensor) -> Flow:
        gray = [cv2.cvtColor(frame.numpy(), cv2.COLOR_RGB2GRAY) for frame in (first, second)]
        # Without a first guess of its own, the algorithm would start from the last pair's flow.
        found: Flow = algorithm.calc(gray[0], gray[1], None)
        algorithm.collectGarbage()
        return found.transpose(2, 0, 1)

    return flow


def _raft(method: Literal["raft_large", "raft_small"], weights: str, device: str) -> Callable[[Tensor, Tensor], Flow]:
    place = "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
    model = getattr(optical_flow, method)(weights=None).to(place).eval()
    _load(model, method, weights)

    @torch.inference_mode()
    def flow(first: Tensor, second: Tensor) -> Flow:
        frames = torch.stack([first, second]).permute(0, 3, 1, 2).to(place) / 127.5 - 1
        height, width = frames.shape[2:]
        # RAFT wants multiples of 8, and at least 128 for its pyramid.
        right, below = max(128, -(-width // 8) * 8) - width, max(128, -(-height // 8) * 8) - height
        padded = F.pad(frames, (0, right, 0, below), mode="replicate")
        found = model(padded[:1], padded[1:])[-1]
        return cast(Flow, found[0, :, :height, :width].float().cpu().numpy())

    return flow


def _load(model: nn.Module, method: str, weights: str) -> None:
    """Put a file's weights, or torchvision's, into the model."""
    try:
        if not weights:
            default = getattr(optical_flow, "Raft_Large_Weights" if method == "raft_large" else "Raft_Small_Weights")
            state = default.DEFAULT.get_state_dict(progress=False, check_hash=True)
        elif weights.endswith(".safetensors"):
            state = load_file(weights)
        else:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        model.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    except URLError as error:
        url = default.DEFAULT.url
        raise UserError(
            f"RAFT's weights cannot be downloaded ({error.reason}): get {url} on another machine and give the file "
            "by --weights, or take --method tvl1"
        ) from None
    except FileNotFoundError:
        raise UserError(f"--weights: no file '{Path(weights)}'") from None
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--weights {weights}: no weights of torchvision's {method} ({reason})") from None
