"""What may be opened as a live stream, and that no secret of its address is shown."""

import pytest

from kinema.data.streams.live.address import is_live, live_address
from kinema.errors import UserError


@pytest.mark.parametrize(
    ("text", "kind", "live"),
    [
        ("rtsp://10.0.0.5/cam", "rtsp", True),
        ("RTSPS://10.0.0.5:322/cam", "rtsp", True),
        ("https://example.org/live/index.m3u8?x=1", "http", True),
        ("http://10.0.0.5/video.mjpg", "http", True),
        ("http://10.0.0.5/video.ts", "http", False),  # a file, unless --live
        ("/dev/video0", "device", True),
        ("/dev/v4l/by-id/usb-cam-index0", "device", True),
        ("-", "pipe", True),
    ],
)
def test_streams(text: str, kind: str, live: bool) -> None:
    assert is_live(text) == live
    assert live_address(text).kind == kind


@pytest.mark.parametrize(
    "text",
    [
        "video.mp4", "/dev/sda", "/dev/video0/../sda", "file:///etc/passwd", "concat:a.ts|b.ts", "rtsp:/host/x",
        "subfile,,start,0,end,9,,:/etc/passwd", "udp://0.0.0.0:5000", "s3://bucket/x.ts", "pipe:0", "data://x", "",
        "http,protocol_whitelist=file:///x", "http://", "rtsp:///camera", "rtsp://host:port/x", "http://host/a\nb",
    ],
)  # fmt: skip
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"allowed|expected"):
        live_address(text)


def test_a_misspelled_scheme_is_named() -> None:
    with pytest.raises(UserError, match=r"found rstp://; allowed: rtsp://, .*did you mean 'rtsp'"):
        live_address("rstp://admin:hunter2@host/x")


@pytest.mark.parametrize("scheme", ["rstp", "rtps", "RTPS", "rtp", "rtmp", "srt", "udp"])
def test_urls_meant_as_streams(scheme: str) -> None:
    assert is_live(f"{scheme}://admin:hunter2@host/x")


@pytest.mark.parametrize("scheme", ["s3", "gs", "http", "https", "ftp", "sftp", "hdfs", "file", "memory", "zoo", "hf"])
def test_urls_of_files(scheme: str) -> None:
    assert not is_live(f"{scheme}://host/x.mp4")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("rtsp://host/cam?channel=1&subtype=0", "rtsp://host/cam?channel=1&subtype=0"),
        ("http://host/x.m3u8?token=3f9c2a&hd", "http://host/x.m3u8?token=…&hd"),
        ("http://host/x?user=admin&pwd=1234#t", "http://host/x?user=…&pwd=…"),
        ("rtsp://admin:hunter2@host/cam", "rtsp://host/cam"),
        ("/dev/video0", "/dev/video0"),
        ("-", "-"),
    ],
)
def test_names(url: str, name: str) -> None:
    assert live_address(url).name == name


def test_an_address_does_not_print_its_url() -> None:
    assert "hunter2" not in repr(live_address("rtsp://admin:hunter2@host/x"))
