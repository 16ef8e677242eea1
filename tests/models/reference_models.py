"""Kinema's counterparts of the reference models, under the names of the reference's files."""

from collections.abc import Callable
from functools import partial

from kinema.models import Recognizer, i3d, r2plus1d, slowfast, slowonly, tsm, tsn

eight_frames = partial(i3d, conv1_stride_t=1, pool1_stride_t=1)

REFERENCE_MODELS: dict[str, Callable[..., Recognizer]] = {
    "tsn_r50_1x1x3": tsn,
    "tsm_r50_1x1x8": tsm,
    "i3d_r50_32x2x1": i3d,
    "i3d_heavy_r50_8x8x1": partial(eight_frames, inflate="all"),
    "i3d_pysf_r50_8x8x1": eight_frames,
    "slowonly_r50_4x16x1": slowonly,
    "slowfast_r50_4x16x1": slowfast,
    "r2plus1d_r34_8x8x1": r2plus1d,
}
