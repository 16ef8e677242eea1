"""Kinema's counterparts of the reference models, under the names of the reference's files."""

from collections.abc import Callable
from functools import partial

from kinema.models import RecognizerOptions
from kinema.models.i3d import I3DOptions
from kinema.models.r2plus1d import R2Plus1DOptions
from kinema.models.slowfast import SlowFastOptions
from kinema.models.slowonly import SlowOnlyOptions
from kinema.models.tsm import TSMOptions
from kinema.models.tsn import TSNOptions

eight_frames = partial(I3DOptions, conv1_stride_t=1, pool1_stride_t=1)

REFERENCE_MODELS: dict[str, Callable[..., RecognizerOptions]] = {
    "tsn_r50_1x1x3": TSNOptions,
    "tsm_r50_1x1x8": TSMOptions,
    "i3d_r50_32x2x1": I3DOptions,
    "i3d_heavy_r50_8x8x1": partial(eight_frames, inflate="all"),
    "i3d_pysf_r50_8x8x1": eight_frames,
    "slowonly_r50_4x16x1": SlowOnlyOptions,
    "slowfast_r50_4x16x1": SlowFastOptions,
    "r2plus1d_r34_8x8x1": R2Plus1DOptions,
}

RECIPES = {
    "tsn_r50_1x1x3": "tsn_r50_1x1x3_100e_kinetics400_rgb",
    "tsm_r50_1x1x8": "tsm_r50_1x1x8_50e_kinetics400_rgb",
    "i3d_r50_32x2x1": "i3d_r50_32x2x1_100e_kinetics400_rgb",
    "i3d_heavy_r50_8x8x1": "i3d_r50_video_heavy_8x8x1_100e_kinetics400_rgb",
    "i3d_pysf_r50_8x8x1": "i3d_r50_video_8x8x1_100e_kinetics400_rgb",
    "slowonly_r50_4x16x1": "slowonly_r50_video_4x16x1_256e_kinetics400_rgb",
    "slowfast_r50_4x16x1": "slowfast_r50_video_4x16x1_256e_kinetics400_rgb",
    "r2plus1d_r34_8x8x1": "r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb",
    "x3d_s": "x3d_s_13x6_kinetics400",
    "x3d_s_pysf": "x3d_s_13x6_kinetics400",
}
"""The recipes that train them."""

GFLOPS = {
    "tsn_r50_1x1x3": 24.5,
    "tsm_r50_1x1x8": 65.4,
    "i3d_r50_32x2x1": 66.3,
    "i3d_heavy_r50_8x8x1": 63.4,
    "i3d_pysf_r50_8x8x1": 56.8,
    "slowonly_r50_4x16x1": 41.7,
    "slowfast_r50_4x16x1": 55.3,
    "r2plus1d_r34_8x8x1": 81.1,
}
"""Of one clip of 224×224, as the reference's table has them: multiplications and additions."""
