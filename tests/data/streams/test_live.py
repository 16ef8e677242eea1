"""Live streams from real servers, whole and broken."""

import io
import itertools
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kinema.data.streams.live.address import live_address
from kinema.data.streams.live.stream import LiveStream
from kinema.errors import MediaError, StorageOutage
from tests.data.drawn_videos import number_of, picture, write_video
from tests.data.streams.live_servers import (
    FPS,
    Answer,
    RtspServer,
    corrupted,
    paced,
    silence,
    streaming,
)
from tests.storage.servers import free_port, web_server

FRAMES = 100


@pytest.fixture(scope="module")
def ts(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Four seconds of MPEG-TS."""
    path = tmp_path_factory.mktemp("live") / "x.ts"
    write_video(path, times=range(FRAMES))
    return path.read_bytes()


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds of MP4."""
    path = tmp_path_factory.mktemp("live") / "x.mp4"
    write_video(path, times=range(40 * FPS))
    return path


class Recorded:
    """Times, numbers and sizes of the frames of a stream, at most `most`, read in a thread."""

    def __init__(self, url: str, *, most: int = 100_000, timeout: float = 0.5, patience: float = 10.0) -> None:
        self.stream = LiveStream(live_address(url), timeout=timeout, patience=patience)
        self.times = list[float]()
        self.numbers = list[int]()
        self.sizes = list[tuple[int, int]]()
        self.error: Exception | None = None
        self._most = most
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for frame in itertools.islice(self.stream, self._most):
                image = frame.image()
                self.times.append(frame.seconds)
                self.numbers.append(number_of(image))
                self.sizes.append(image.shape[1::-1])
        except (MediaError, StorageOutage) as error:
            self.error = error

    def wait_for(self, frames: int) -> None:
        end = time.monotonic() + 30
        while len(self.times) < frames and self._thread.is_alive():
            assert time.monotonic() < end
            time.sleep(0.01)

    def ended(self) -> "Recorded":
        self._thread.join(30)
        assert not self._thread.is_alive()
        assert all(np.diff(self.times) > 0)
        return self


def recorded(url: str, *, most: int = 100_000, timeout: float = 0.5, patience: float = 10.0) -> Recorded:
    return Recorded(url, most=most, timeout=timeout, patience=patience).ended()


def test_a_file_behind_a_server_ends(ts: bytes, mp4: Path) -> None:
    for data, frames in ((ts, FRAMES), (mp4.read_bytes(), 40 * FPS)):
        with streaming(lambda _, data=data: data) as server:
            run = recorded(server.url, timeout=5)
            assert server.requests == 1
        assert run.error is None
        assert run.stream.can_wait
        assert len(run.times) == frames


def test_frames_and_times_are_those_of_the_file(ts: bytes) -> None:
    with streaming(lambda _: iter([ts])) as server:
        run = recorded(server.url, patience=0)
    assert run.numbers == [*range(FRAMES)]
    assert run.times == pytest.approx([i / FPS for i in range(FRAMES)], abs=1e-4)
    assert "the connection broke off" in str(run.error)
    assert run.stream.fps == FPS
    assert not run.stream.can_wait


def test_a_dropped_connection_is_opened_again_with_the_gap_in_the_times(
    ts: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    def play(request: int) -> Answer:
        if request in (1, 2):
            return (503, 404)[request - 1]
        return paced(ts, 0.5)

    with streaming(play) as server:
        began = time.monotonic()
        run = recorded(server.url, most=FRAMES + 10)
        lasted = time.monotonic() - began
    assert run.error is None
    assert run.stream.counts.reconnections == 1
    assert run.numbers == [*range(FRAMES), *range(10)]
    gap = run.times[FRAMES] - run.times[FRAMES - 1]
    assert 0.5 * (0.5 + 1 + 2) <= gap <= lasted  # three delays, each at least half of what it may be
    assert np.diff(run.times[FRAMES:]) == pytest.approx(1 / FPS, abs=1e-4)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2  # once when it breaks off, once when it is over
    assert "interrupted: the connection broke off" in warnings[0]
    assert "running again after" in warnings[1]


def test_a_silent_server_is_left(ts: bytes) -> None:
    def play(request: int) -> Iterator[bytes]:
        return itertools.chain([ts[: len(ts) // 2]], silence(20)) if request == 0 else iter([ts])

    with streaming(play) as server:
        run = recorded(server.url, most=FRAMES)
        assert server.requests == 2
    assert run.stream.counts.reconnections == 1
    before = run.numbers.index(0, 1)
    assert run.numbers == [*range(before), *range(FRAMES - before)]
    assert before > FRAMES / 3


@pytest.mark.parametrize("seed", range(3))
def test_corrupted_bytes_cost_frames_and_not_the_connection(ts: bytes, seed: int) -> None:
    with streaming(lambda _: iter([corrupted(ts, share=0.005, spare=len(ts) // 4, seed=seed)])) as server:
        run = recorded(server.url, patience=0)
        assert server.requests == 1
    assert run.numbers[:20] == [*range(20)]
    assert run.stream.counts.damaged + FRAMES - len(run.times) > 0
    assert len(run.times) > FRAMES / 2
    assert run.times[-1] == pytest.approx(FRAMES / FPS, abs=1.5)


def test_the_picture_may_change_its_size(ts: bytes, tmp_path: Path) -> None:
    write_video(tmp_path / "wide.ts", size=(96, 64), times=range(FRAMES, 2 * FRAMES))
    with streaming(lambda _: iter([ts + (tmp_path / "wide.ts").read_bytes()])) as server:
        run = recorded(server.url, patience=0)
    assert run.sizes == [(64, 48)] * FRAMES + [(96, 64)] * FRAMES
    assert run.numbers == [*range(FRAMES)] * 2
    assert run.times == pytest.approx([i / FPS for i in range(2 * FRAMES)], abs=1e-4)
    assert run.stream.counts.sizes == 1


def test_stream_time_goes_on_where_the_stamps_start_again(ts: bytes) -> None:
    with streaming(lambda _: iter([ts + ts])) as server:
        run = recorded(server.url, patience=0)
    assert run.numbers == [*range(FRAMES)] * 2
    assert run.times == pytest.approx([i / FPS for i in range(2 * FRAMES)], abs=0.5)
    assert run.stream.counts.jumps == 1


def test_stream_time_goes_on_where_the_stamps_wrap(tmp_path: Path) -> None:
    wrap = 2**33 / 90_000
    options = {"output_ts_offset": str(wrap - 2)}
    write_video(tmp_path / "x.ts", times=range(FRAMES), container_options=options)
    with streaming(lambda _: iter([(tmp_path / "x.ts").read_bytes()])) as server:
        run = recorded(server.url, patience=0)
    assert run.numbers == [*range(FRAMES)]
    assert run.times == pytest.approx([i / FPS for i in range(FRAMES)], abs=0.1)


@pytest.mark.parametrize(("status", "said"), [(404, "no such stream"), (401, "user name and password"), (403, "403")])
def test_a_refusal_ends_at_once(status: int, said: str) -> None:
    with streaming(lambda _: status) as server:
        url = server.url.replace("://", "://admin:hunter2@")
        with pytest.raises(MediaError, match=said) as caught:
            next(iter(LiveStream(live_address(url))))
    assert str(caught.value).startswith(server.url)
    assert "hunter2" not in str(caught.value)


def test_nothing_that_answers_is_an_outage() -> None:
    url = f"http://user:hunter2@127.0.0.1:{free_port()}/x"
    with pytest.raises(StorageOutage, match="Connection refused") as caught:
        next(iter(LiveStream(live_address(url))))
    assert "hunter2" not in str(caught.value)


def test_a_server_that_never_answers_is_an_outage() -> None:
    with streaming(lambda _: silence(5)) as server, pytest.raises(StorageOutage, match=r"no data for 0\.3 s"):
        next(iter(LiveStream(live_address(server.url), timeout=0.3)))


def sound() -> bytes:
    """A second of MPEG-TS without video."""
    with av.open(file := io.BytesIO(), "w", format="mpegts") as container:
        stream = container.add_stream("mp2", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000 * 2), np.int16), format="s16", layout="stereo")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize("data", [b"<html>no video</html>" * 100, b"", sound(), b"ffconcat version 1.0\nfile x.ts\n"])
def test_what_is_no_video_is_refused(data: bytes) -> None:
    with streaming(lambda _: data) as server, pytest.raises(MediaError, match=r"no video|holds no|no picture"):
        next(iter(LiveStream(live_address(server.url), timeout=2)))


def test_a_playlist_cannot_open_files_of_this_machine(ts: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.ts").write_bytes(ts)
    for target in (f"file://{tmp_path}/x.ts", f"{tmp_path}/x.ts", f"concat:{tmp_path}/x.ts", f"subfile,,:{tmp_path}"):
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{target}\n#EXT-X-ENDLIST\n".encode()
        with (
            streaming(lambda _, data=playlist: iter([data]), kind="application/vnd.apple.mpegurl") as server,
            pytest.raises((MediaError, StorageOutage)),
        ):
            next(iter(LiveStream(live_address(f"{server.url}.m3u8"), timeout=0.5)))


def test_a_stream_that_does_not_come_back_is_given_up(ts: bytes) -> None:
    with streaming(lambda request: iter([ts]) if request == 0 else 503) as server:
        run = recorded(server.url, patience=1.5)
        assert 2 <= server.requests <= 5
    assert len(run.times) == FRAMES
    assert isinstance(run.error, StorageOutage)
    assert "gave up after 1.5 s" in str(run.error)


def test_a_stop_ends_the_wait_for_a_server(ts: bytes) -> None:
    with streaming(lambda request: iter([ts]) if request == 0 else 503) as server:
        run = Recorded(server.url, patience=60)
        run.wait_for(FRAMES)
        time.sleep(1)
        run.stream.close()
        run.ended()
    assert run.error is None


def mjpeg(numbers: range, wait: float) -> Iterator[bytes]:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuvj420p", Fraction(1, FPS)
    for number in numbers:
        frame = av.VideoFrame.from_ndarray(picture(number), "rgb24").reformat(format="yuvj420p")
        frame.pts = number
        image = b"".join(bytes(packet) for packet in encoder.encode(frame))
        yield b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(image) + image + b"\r\n"
        time.sleep(wait)


@pytest.mark.slow
def test_pictures_of_an_mjpeg_camera_have_the_times_of_their_arrival() -> None:
    kind = "multipart/x-mixed-replace; boundary=frame"
    with streaming(lambda _: mjpeg(range(30), 0.1), kind=kind) as server:
        run = recorded(server.url, patience=0, timeout=2)
    assert run.numbers == [*range(30)]
    # The first pictures are buffered while the stream is probed; at 10 pictures/s the others are 0.1 s apart.
    assert np.median(np.diff(run.times)[10:]) == pytest.approx(0.1, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("announced", [True, False])
def test_a_playlist_that_grows_until_it_ends_or_is_left(tmp_path: Path, announced: bool) -> None:
    count, shown = 6, 3
    for number in range(count):
        write_video(tmp_path / f"{number}.ts", times=range(FPS), container_options={"output_ts_offset": str(number)})

    def publish(last: int, *, ended: bool = False) -> None:
        first = max(last - shown, 0)
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        lines += [f"#EXTINF:1.0,\n{number}.ts" for number in range(first, last)] + ["#EXT-X-ENDLIST"] * ended
        (tmp_path / "new").write_text("\n".join(lines) + "\n")
        (tmp_path / "new").rename(tmp_path / "x.m3u8")

    publish(shown)
    with web_server(tmp_path) as web:
        run = Recorded(f"{web.url}/x.m3u8", timeout=1, patience=2)
        for last in range(shown + 1, count + 1):
            time.sleep(1)
            publish(last, ended=announced and last == count)
        run.ended()
    # The last pictures wait for the end in the decoder, which a playlist that is left does not tell.
    missing = 0 if announced else 3
    assert count * FPS - missing <= len(run.times) <= count * FPS
    assert run.numbers == ([*range(FPS)] * count)[: len(run.times)]
    assert run.times == pytest.approx([i / FPS for i in range(len(run.times))], abs=0.01)
    if announced:
        assert run.error is None
    else:  # its last segments, which each new connection repeats, are not shown again
        assert isinstance(run.error, StorageOutage)
        assert "gave up after 2 s" in str(run.error)


@pytest.mark.slow
def test_a_certificate_must_be_trusted(ts: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here, which makes certificates")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with streaming(lambda _: ts, context=context) as server:
        with pytest.raises(StorageOutage, match="certificate is not trusted"):
            next(iter(LiveStream(live_address(server.url), timeout=5)))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert len(recorded(server.url, timeout=5).times) == FRAMES


def test_an_rtsp_camera_that_is_switched_off_and_on(mp4: Path) -> None:
    with RtspServer(mp4) as camera:
        run = Recorded(camera.url, timeout=2)
        run.wait_for(30)
        camera.kill()
        time.sleep(0.5)
        before = len(run.times)
        camera.start()
        run.wait_for(before + 30)
        run.stream.close()
        run.ended()
    assert run.error is None
    assert run.stream.counts.reconnections == 1
    assert run.numbers[:30] == [*range(run.numbers[0], run.numbers[0] + 30)]
    assert run.times[:30] == pytest.approx([i / FPS for i in range(30)], abs=1e-3)
    assert run.times[before] - run.times[before - 1] > 0.5
    assert run.numbers[before] < 10


def test_a_wrong_path_of_an_rtsp_camera(mp4: Path) -> None:
    with RtspServer(mp4) as camera, pytest.raises(MediaError, match="no such stream"):
        next(iter(LiveStream(live_address(camera.url + "2"))))


@pytest.mark.slow
def test_an_rtsp_camera_that_hangs(mp4: Path) -> None:
    with RtspServer(mp4) as camera:
        run = Recorded(camera.url, timeout=1, patience=2)
        run.wait_for(10)
        camera.process.send_signal(signal.SIGSTOP)
        run.ended()
    assert isinstance(run.error, StorageOutage)
    assert "gave up after 2 s" in str(run.error)
