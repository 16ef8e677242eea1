"""Video files: their frames in order of presentation, upright, in RGB, and when each is shown."""

from kinema.data.reader import FrameReader
from kinema.data.video.opening import Reader, frame_times, open_video, reader_in_use
from kinema.data.video.orientation import Orientation

__all__ = ["FrameReader", "Orientation", "Reader", "frame_times", "open_video", "reader_in_use"]
