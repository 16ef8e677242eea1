"""Options of `kinema prepare`, apart from the functions that read them, whose modules import torch and decoders."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import annotated_types as at
import tyro

from kinema.data.kinds import LabelMode, MediaKind, Source
from kinema.errors import UserError


@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """Processes of a preparation."""

    workers: Annotated[int, at.Ge(0)] = 0
    """Number of processes; 0: one per core of this machine or of the cluster."""
    cluster: str = ""
    """Ray cluster to work on: local, auto, host:port or ray://host:port. Its machines must share the folders."""


@dataclass(frozen=True, kw_only=True)
class FolderOptions(WorkOptions):
    """Input and output of a conversion of videos."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of videos at any depth, or one video; a path or a URL."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """Output folder: a new one, or that of an earlier call with the same options."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions(FolderOptions):
    """Input and output of a conversion of labeled videos."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of videos at any depth, whose top-level folders are the classes, one video, or a list or table of
    labeled videos; a path or a URL."""
    root: str = ""
    """Folder or URL that the paths of a list are relative to; empty: the folder of the list."""
    labels: LabelMode = "single"
    """Whether each video of a list has a single label, or any number of labels (multi: `path label label …`)."""


DENSE = 16
"""Keyframe interval of dense-encoded videos, in frames."""


@dataclass(frozen=True, kw_only=True)
class EncodingOptions:
    """Size, keyframes and quality of an encoding."""

    short_side: Annotated[int, at.Ge(2), at.MultipleOf(2)] = 256
    """Length of the shorter side of the output in pixels, even; the aspect ratio is kept."""
    keep_small: bool = False
    """Keep the size of smaller videos instead of enlarging them."""
    square_pixels: bool = False
    """Resample frames with non-square pixels (DV, DVD, anamorphic video) to the aspect ratio that players display.
    Otherwise pixels are kept, and the output has the sample aspect ratio of the source."""
    dense: bool = False
    """Dense-encoded: a keyframe every 16 frames, for cheap random access. Same as --keyframes 16."""
    all_intra: bool = False
    """All frames are keyframes: the cheapest access, the largest files. Same as --keyframes 1."""
    keyframes: Annotated[int, at.Ge(0)] = 0
    """Keyframe interval in frames; 0: the encoder's default, at scene cuts and at least every 250 frames."""
    b_frames: bool = True
    """Use B-frames (the encoder's default: up to 3 in a row), which save space but no decoding time."""
    crf: Annotated[int, at.Interval(ge=0, le=51)] = 23
    """Constant rate factor: 0 is lossless, 18 visually lossless, 51 the worst; 6 less double the size, roughly."""
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = (
        "medium"
    )
    """Encoder preset: slower ones give smaller files."""

    @property
    def spacing(self) -> int:
        """Keyframe interval in frames; 0: the encoder's default.

        Raises:
            UserError: More than one option sets it.
        """
        intervals = {"--dense": DENSE * self.dense, "--all-intra": int(self.all_intra), "--keyframes": self.keyframes}
        given = [name for name, frames in intervals.items() if frames]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)} all set the keyframe interval; pass only one of them")
        return max(intervals.values())


@dataclass(frozen=True, kw_only=True)
class ResizeOptions(EncodingOptions, FolderOptions):
    """Re-encode a tree of videos as H.264 in MP4, by default with a shorter side of 256 pixels; without audio.

    Names are kept, with the suffix .mp4. Frames are neither dropped nor repeated and keep their time stamps; rotation
    and mirroring of the source are applied. Every output is verified by decoding it. After an interruption, run the
    command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.
    """


@dataclass(frozen=True, kw_only=True)
class FramesOptions(VideoOptions):
    """Extract the frames of videos as JPEG files: one folder per video, with the video's name.

    For labeled videos, OUTPUT/frames.csv is a list to train on (path, frames, class). A folder appears with all its
    frames or not at all; after an interruption, run the command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.
    """

    short_side: Annotated[int, at.Ge(0)] = 256
    """Length of the shorter side of the images in pixels; 0: the original size."""
    quality: Annotated[int, at.Interval(ge=1, le=100)] = 95
    """JPEG quality; 95 is visually lossless."""
    template: str = "img_{:05}.jpg"
    """Name template of the images; numbers start at 1."""


@dataclass(frozen=True, kw_only=True)
class PackOptions(VideoOptions):
    """Pack the frames of each video into a file NAME.pack, from which single images are read as from a folder.

    For labeled videos, OUTPUT/packed.csv is a list (path, class) to train on with --data.source packed or packed_flow.
    Every file is verified by decoding it. After an interruption, run the command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.
    """

    kind: Literal["video", "rawframes", "flow"] = "video"
    """Kind of videos: files, folders of images (rawframes), or folders of pairs of flow images."""
    short_side: Annotated[int, at.Ge(0)] = 256
    """Length of the shorter side of the images in pixels; 0: the original size. Images of a folder that are not larger
    are copied byte for byte, as are flow images, whose values depend on the size."""
    quality: Annotated[int, at.Interval(ge=1, le=100)] = 95
    """JPEG quality of encoded images; 95 is visually lossless."""
    every: Annotated[int, at.Ge(1)] = 1
    """Keep every n-th frame only, starting with the first: for models of single frames (TSN, TSM), and clips with a
    multiple of it as frame interval."""
    template: str = "auto"
    """Name template of images, such as img_{:05}.jpg or flow_{axis}_{:05}.jpg; auto: all images of a folder."""


Method = Literal["tvl1", "raft_large", "raft_small"]


@dataclass(frozen=True, kw_only=True)
class FlowOptions(VideoOptions):
    """Compute optical flow of videos: one folder per video with flow_x_00001.jpg, flow_y_00001.jpg, ….

    The pair n is the flow from frame n to frame n + --step. Gray 128 is no motion, 0 and 255 are --bound pixels to the
    left (up) and to the right (down). A folder appears with all its images or not at all; after an interruption, run
    the command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.
    """

    method: Method = "tvl1"
    """tvl1: TV-L1 on the CPU (needs the extra `flow`); raft_large, raft_small: RAFT, preferably on a GPU."""
    kind: MediaKind = "video"
    """Kind of videos: files, folders of images (rawframes), or packed files of images."""
    bound: Annotated[float, at.Gt(0)] = 20.0
    """Displacement in pixels that maps to gray 255 (its negative to 0); larger displacements are clipped."""
    step: Annotated[int, at.Ge(1)] = 1
    """Distance in frames between the two frames of a pair; a pair starts at every frame."""
    short_side: Annotated[int, at.Ge(0)] = 256
    """Length of the shorter side of the images in pixels; 0: the original size."""
    quality: Annotated[int, at.Interval(ge=1, le=100)] = 95
    """JPEG quality."""
    weights: str = ""
    """File of RAFT weights (.pth or .safetensors); empty: those of torchvision, downloaded once."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for RAFT; auto: a GPU if there is one."""


@dataclass(frozen=True, kw_only=True)
class CheckOptions(WorkOptions):
    """Decode every video of a dataset, to find bad ones and wrong numbers of frames in its list.

    Of a list of segments each video is decoded once, and its segments must lie within it.

    The exit code is 1 if there are any. After an interruption, run the command again to continue.
    """

    dataset: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
    """A folder of class folders, another folder of videos, one video, or a list or table of videos; a path or a URL."""
    kind: Source = "video"
    """Kind of videos: files, folders of images (rawframes) or pairs of flow images, or packed files of these."""
    root: str = ""
    """Folder or URL that the paths of a list are relative to; empty: the folder of the list."""
    labels: LabelMode = "single"
    """Whether each video of a list has a single label, or any number of labels (multi: `path label label …`)."""
    template: str = "auto"
    """Name template of images, such as img_{:05}.jpg or flow_{axis}_{:05}.jpg; auto: all images of a folder."""
    first: int = 1
    """Number of the first frame in the template."""
    report: Annotated[Path, tyro.conf.arg(metavar="CSV")] = Path("check.csv")
    """Report to write: path,what,found,expected."""
    clean: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write the list to without bad rows, in its format; for a folder a table path,class (.csv). Relative paths
    stay relative to the same folder or URL, to be passed as --data.root."""
    fix_counts: bool = False
    """Correct wrong numbers of frames in the clean list instead of leaving these videos out."""


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """Render a small dataset of H.264 clips: eight motions in four opposite pairs, such as left and right.

    The two motions of a pair differ only in the order of frames. After an interruption, run the command again to
    continue.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Output folder for train/ and val/, with a folder per class."""
    train_per_class: Annotated[int, at.Ge(1)] = 100
    """Training clips per class."""
    val_per_class: Annotated[int, at.Ge(1)] = 25
    """Validation clips per class."""
    seed: Annotated[int, at.Ge(0)] = 0
    """Seed of all random choices."""
    workers: Annotated[int, at.Ge(0)] = 0
    """Number of processes; 0: one per core."""
