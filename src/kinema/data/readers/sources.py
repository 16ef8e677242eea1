"""Opening of videos of any source, from any storage."""

from dataclasses import dataclass
from typing import Literal

from kinema.data.lists.index import MediaKind
from kinema.data.readers.flow import open_flow
from kinema.data.readers.frame_names import Numbered, numbers_by_template, why
from kinema.data.readers.packed import open_packed
from kinema.data.readers.rawframes import open_rawframes
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.timed_video import TimedVideo, timed
from kinema.data.readers.video import Reader, open_video
from kinema.errors import MediaError
from kinema.storage import Storage

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


@dataclass(frozen=True, kw_only=True)
class Opener:
    """Opens videos of one source."""

    source: Source
    storage: Storage
    template: str = "auto"
    """Names of images in a folder; see `open_rawframes` and `open_flow`."""
    first: int = 1
    """Number of the first image, with a template."""
    usual: Numbered | None = None
    """Names of the images in most folders, if known; see `open_rawframes`."""
    reader: Reader = "auto"
    """Decoder of video files; see `open_video`."""

    def open(self, path: str, count: int | None = None) -> FrameReader:
        """Open the video at `path`, a local path or a URL; `count` is the number of images listed for it.

        Raises:
            MediaError: it cannot be read.
            UserError: the template is faulty, or the reader does not load.
        """
        match self.source:
            case "rawframes":
                return open_rawframes(
                    path, template=self.template, count=count, first=self.first, storage=self.storage, usual=self.usual
                )
            case "flow":
                return open_flow(path, template=self.template, count=count, first=self.first, storage=self.storage)
            case "packed" | "packed_flow":
                return open_packed(path, storage=self.storage, flow=self.source in FLOW)
            case "video":
                return open_video(self._file(path), path=path, reader=self.reader)

    def open_timed(self, path: str) -> TimedVideo:
        """Open the video at `path` at a constant frame rate, by its time stamps where it is a video file.

        Raises:
            MediaError: it cannot be read.
            UserError: the template is faulty, or the reader does not load.
        """
        if self.source != "video":
            return timed(self.open(path), None)
        file = self._file(path)
        return timed(open_video(file, path=path, reader=self.reader), file)

    def _file(self, path: str) -> str | bytes:
        """Return what a decoder opens: a local path, or the bytes at a URL."""
        try:
            return self.storage.local(path)
        except OSError as error:
            raise MediaError(path, why(error)) from None

    def find_first(self, folder: str) -> int:
        """The number that images named by `template` are counted from: 0 where `folder` has an image 0, else 1."""
        try:
            numbers = numbers_by_template(self.template, folder, self.storage, axis="x" * (self.source == "flow"))
        except MediaError:  # raised again when the folder is read
            return 1
        return 0 if 0 in numbers else 1
