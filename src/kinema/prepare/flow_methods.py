"""Optical flow by TV-L1 (OpenCV) or RAFT (torchvision)."""

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

from kinema.errors import UserError
from kinema.prepare.options import Method

Flow = NDArray[np.float32]
"""(2, H, W): displacement of each pixel from the first frame to the second, to the right and down, in pixels."""


@cache
def flow_method(method: Method, *, weights: str = "", device: str = "auto") -> Callable[[Tensor, Tensor], Flow]:
    """Return a function of two frames (H, W, 3) uint8 RGB, cached between calls.

    tvl1 is Zach, Pock and Bischof (2007) with OpenCV's default parameters; raft_large and raft_small are Teed and Deng
    (2020), of torchvision, with `weights` of a file or, if empty, torchvision's, downloaded once.

    Raises:
        UserError: OpenCV is not installed, or the weights cannot be loaded.
    """
    return _tvl1() if method == "tvl1" else _raft(method, weights, device)


def _tvl1() -> Callable[[Tensor, Tensor], Flow]:
    try:
        cv2: Any = import_module("cv2")
        algorithm = cv2.optflow.DualTVL1OpticalFlow_create()
    except (ImportError, AttributeError):
        raise UserError(
            "--method tvl1 needs OpenCV with its contributed modules: pip install 'kinema[flow]' "
            "(uninstall other opencv packages first), or pass --method raft_large"
        ) from None
    cv2.setNumThreads(1)
    scales = algorithm.getScalesNumber()

    def compute(first: Tensor, second: Tensor) -> Flow:
        gray = [cv2.cvtColor(frame.numpy(), cv2.COLOR_RGB2GRAY) for frame in (first, second)]
        algorithm.setScalesNumber(scales)  # which small frames have lowered for all that follow
        # Without None as the initial flow, the algorithm would start from the previous pair's.
        flow: Flow = algorithm.calc(gray[0], gray[1], None)
        algorithm.collectGarbage()
        return flow.transpose(2, 0, 1)

    return compute


def _raft(method: Literal["raft_large", "raft_small"], weights: str, device: str) -> Callable[[Tensor, Tensor], Flow]:
    target = "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
    from torchvision.models import optical_flow

    model = getattr(optical_flow, method)(weights=None).to(target).eval()
    _load(model, method, weights)

    @torch.inference_mode()
    def flow(first: Tensor, second: Tensor) -> Flow:
        frames = torch.stack([first, second]).permute(0, 3, 1, 2).to(target) / 127.5 - 1
        height, width = frames.shape[2:]
        # RAFT needs multiples of 8, and at least 128 for its pyramid.
        right, below = max(128, -(-width // 8) * 8) - width, max(128, -(-height // 8) * 8) - height
        padded = F.pad(frames, (0, right, 0, below), mode="replicate")
        prediction = model(padded[:1], padded[1:])[-1]
        return cast(Flow, prediction[0, :, :height, :width].float().cpu().numpy())

    return flow


def _load(model: nn.Module, method: str, weights: str) -> None:
    """Load weights from a file, or torchvision's, into the model."""
    from torchvision.models import optical_flow

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
            f"RAFT's weights cannot be downloaded ({error.reason}): download {url} elsewhere and pass the file as "
            "--weights, or pass --method tvl1"
        ) from None
    except FileNotFoundError:
        raise UserError(f"--weights: no file '{Path(weights)}'") from None
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--weights {weights}: not weights of torchvision's {method} ({reason})") from None
