"""Kinds of media and labels, by the values of options; without torch, for command lines."""

from typing import Literal

MediaKind = Literal["video", "rawframes", "packed"]
"""How a video is stored: a video file, a folder of images (rawframes), or a packed file of images."""

Label = int | tuple[int, ...]
"""Class of a video, or its classes, of which there may be any number."""

LabelMode = Literal["single", "multi"]
"""One label for each video, or any number of labels (multi-label)."""

LabelsRead = LabelMode | Literal["none"]
"""What a list is read for; none: its labels, if it has any, are not read."""

Reader = Literal["auto", "torchcodec", "pyav"]
"""Decoder of video files; see `kinema.data.readers.sources.open_video`."""

Source = Literal["video", "rawframes", "packed", "flow", "packed_flow"]
"""Video files; or for each video a folder of images, a packed file of them, a folder of pairs of images that hold
optical flow, or a packed file of such pairs."""

FLOW: tuple[Source, ...] = ("flow", "packed_flow")
"""Sources of optical flow, whose frames have two channels."""

KINDS: dict[Source, MediaKind] = {
    "video": "video",
    "rawframes": "rawframes",
    "packed": "packed",
    "flow": "rawframes",
    "packed_flow": "packed",
}
"""Kind of list entry of each source."""
