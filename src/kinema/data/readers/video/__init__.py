"""Video files: frames in presentation order, upright, in RGB, and their presentation times."""

from kinema.data.readers.reader import FrameReader
from kinema.data.readers.video.opening import Reader, frame_times, open_video, reader_in_use
from kinema.data.readers.video.orientation import Orientation

__all__ = ["FrameReader", "Orientation", "Reader", "frame_times", "open_video", "reader_in_use"]
