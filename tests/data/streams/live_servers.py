"""Live streams on this machine, and what breaks them."""

import random
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.storage.servers import free_port

FPS = 25
SYSTEM_PYTHON = "/usr/bin/python3"
"""The Python that has GStreamer's bindings."""

_HAS_RTSP = "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0'); " + (
    "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
    "assert all(map(Gst.ElementFactory.find, ['qtdemux', 'h264parse', 'rtph264pay']))"
)


Answer = Iterator[bytes] | bytes | int


class StreamServer:
    """An HTTP server of streams.

    Args:
        play: Called for each request with its number; returns a status, a file, or parts as they come,
            without a length.
        kind: Content type.
        context: Of TLS; None: plain HTTP.
    """

    def __init__(
        self, play: Callable[[int], Answer], *, kind: str = "video/mp2t", context: ssl.SSLContext | None = None
    ) -> None:
        self.requests = 0
        stream_server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stream_server.requests += 1
                answer = play(stream_server.requests - 1)
                if isinstance(answer, int):
                    self.send_error(answer)
                    return
                self.send_response(200)
                self.send_header("Content-Type", kind)
                if isinstance(answer, bytes):
                    self.send_header("Content-Length", str(len(answer)))
                    answer = iter([answer])
                self.end_headers()
                try:
                    for part in answer:
                        self.wfile.write(part)
                        self.wfile.flush()
                        if stream_server.closed:
                            return
                except OSError:  # the client is gone
                    return

            def log_message(self, *_: object) -> None:
                pass

        self.closed = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.server.server_port}/stream"


@contextmanager
def streaming(
    play: Callable[[int], Answer], *, kind: str = "video/mp2t", context: ssl.SSLContext | None = None
) -> Iterator[StreamServer]:
    server = StreamServer(play, kind=kind, context=context)
    thread = threading.Thread(target=partial(server.server.serve_forever, 0.02), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closed = True
        server.server.shutdown()
        server.server.server_close()
        thread.join()


def paced(data: bytes, seconds: float, *, parts_per_second: float = 20) -> Iterator[bytes]:
    """`data` in equal parts over so many seconds."""
    count = max(int(seconds * parts_per_second), 1)
    began = time.monotonic()
    for number in range(count):
        yield data[len(data) * number // count : len(data) * (number + 1) // count]
        time.sleep(max(began + (number + 1) * seconds / count - time.monotonic(), 0))


def silence(seconds: float) -> Iterator[bytes]:
    time.sleep(seconds)
    yield b""


def corrupted(data: bytes, *, share: float, spare: int, seed: int = 0) -> bytes:
    """`data` with random bytes in a share of its places, the first `spare` bytes excepted."""
    rng, damaged = random.Random(seed), bytearray(data)
    for _ in range(int(share * len(data))):
        damaged[rng.randrange(spare, len(data))] = rng.randrange(256)
    return bytes(damaged)


class RtspServer:
    """GStreamer's RTSP server of an H.264 MP4 file; skips the test where there is none."""

    def __init__(self, file: Path) -> None:
        if not has_rtsp():
            pytest.skip("no RTSP server here: apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good")
        self._file, self._port = file, free_port()
        self.url = f"rtsp://127.0.0.1:{self._port}/camera"
        self.start()

    def start(self) -> None:
        """Answer, at the same port as before."""
        script = Path(__file__).with_name("rtsp_server.py")
        command = [SYSTEM_PYTHON, script, str(self._port), self._file]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> "RtspServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def has_rtsp() -> bool:
    try:
        return subprocess.run([SYSTEM_PYTHON, "-c", _HAS_RTSP], capture_output=True, check=False).returncode == 0
    except OSError:
        return False
