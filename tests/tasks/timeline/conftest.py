from pathlib import Path

import av
import pytest

from kinema.data.readers.sources import open_video


@pytest.fixture(scope="session")
def long_video(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of the sample one after the other, at a variable frame rate."""
    path = tmp_path_factory.mktemp("long") / "long.mkv"
    clips = sorted((sample / "val").glob("*/*.mp4"))[:6]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000, options={"x264-params": "keyint=20:bframes=2"})
        stream.height, stream.width = open_video(str(clips[0])).frames([0]).shape[1:3]
        stream.pix_fmt, tick = "yuv420p", 0
        for number, clip in enumerate(clips):
            reader = open_video(str(clip))
            for image in reader.frames(range(len(reader))).numpy():
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts = tick
                tick += (40, 70)[number % 2]
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
