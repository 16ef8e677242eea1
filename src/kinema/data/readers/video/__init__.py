"""Video files: their frames in order of presentation, upright, in RGB, and when each is shown."""

from kinema.data.readers.reader import FrameReader
from kinema.data.readers.video.opening import Reader, frame_times, open_video, reader_in_use
from kinema.data.readers.video.orientation import Orientation

__all__ = ["FrameReader", "Orientation", "Reader", "frame_times", "open_video", "reader_in_use"]
