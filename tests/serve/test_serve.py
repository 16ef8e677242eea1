"""`kinema serve`: answers, limits, who may ask, and what is left behind."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from signal import SIGINT, SIGKILL
from typing import Any

import av
import httpx
import numpy as np
import pytest
import torch

import kinema
from kinema.cli import main
from kinema.serve.batches import Batches
from kinema.serve.uploads import upload_folder
from tests.serve.server import Server, serving


def write_video(path: Path, *, frames: int, width: int = 64, height: int = 48, rate: int = 10) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            image = np.full((height, width, 3), number * 7 % 256, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    return path


def test_answers_are_those_of_predict(server: Server, tiny_run: Path, clips: list[Path]) -> None:
    model = kinema.load(tiny_run)
    for clip in clips[::5]:
        answer = server.post(clip.read_bytes(), "/api/predict?top=3").json()
        expected = model.predict(clip, top=3)
        assert [one["label"] for one in answer["predictions"]] == [one.label for one in expected]
        assert [one["score"] for one in answer["predictions"]] == pytest.approx([x.score for x in expected], abs=1e-5)
        assert answer["windows"] == []
    answer = server.post(clips[0].read_bytes(), "/api/predict?every=0.5&window=1&top=2").json()
    expected = list(model.stream(clips[0], every=0.5, window=1.0, top=2))
    assert len(answer["windows"]) == len(expected) > 1
    for window, other in zip(answer["windows"], expected, strict=True):
        assert (window["start"], window["end"]) == (other.start, other.end)
        scores = [one["score"] for one in window["predictions"]]
        assert scores == pytest.approx([one.score for one in other.predictions], abs=1e-5)


def test_health_model_and_pages(server: Server, tiny_run: Path) -> None:
    health = httpx.get(f"{server.url}/health").json()
    assert health == {"status": "ok", "version": kinema.__version__, "requests": 0, "max_requests": 32}
    said = httpx.get(f"{server.url}/api/model").json()
    assert said["classes"] == list(kinema.load(tiny_run).classes)
    for path in ("/", "/docs"):
        page = httpx.get(server.url + path)
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert "//" not in page.text.replace("http://127.0.0.1:8000", "").replace("https, or", "")  # no other host
    assert "/api/predict" in httpx.get(f"{server.url}/docs").text
    assert "/api/predict" in httpx.get(f"{server.url}/openapi.json").json()["paths"]


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{0}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{0}'\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
    'mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>file://{0}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "url": "[InternetShortcut]\nURL=file://{0}\n",
    "path": "{0}",
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{0}"/></svg>',
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_no_upload_reaches_a_file_of_the_server(server: Server, kind: str, clips: list[Path]) -> None:
    """Of a clip that the server could classify: a playlist that were followed would have an answer."""
    response = server.post(PLAYLISTS[kind].format(clips[0].resolve()).encode())
    assert response.status_code == 422, response.text
    assert set(response.json()) == {"error"}
    assert str(server.uploads) not in response.text


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", {}, 422),
        (b"\0" * 1000, {}, 422),
        (b"not a video", {}, 422),
        (b"x", {"Content-Type": "text/plain"}, 415),
        (b"x", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
        (b"\0" * (2**21 + 1), {}, 413),
    ],
)
def test_odd_uploads_are_refused(server: Server, content: bytes, headers: dict[str, str], status: int) -> None:
    response = server.post(content, headers=headers)
    assert response.status_code == status
    assert response.json()["error"]


def test_a_large_upload_is_written_in_parts(server: Server, clips: list[Path]) -> None:
    content = clips[0].read_bytes()
    unused = (3 << 19).to_bytes(4) + b"free" + bytes((3 << 19) - 8)  # a box of 1.5 MiB, which players skip
    assert server.post(content + unused).json() == server.post(content).json()


def test_an_upload_without_length_is_cut_off(server: Server) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"\0" * 65536

    # The server may have answered and closed the connection while more was being sent.
    with suppress(httpx.WriteError, httpx.ReadError):
        assert server.post(endless()).status_code == 413
    assert httpx.get(f"{server.url}/health").json()["requests"] == 0
    assert not server.files()


def test_limits_of_length_and_size(server: Server, tmp_path: Path) -> None:
    long = server.post(write_video(tmp_path / "long.mp4", frames=210).read_bytes())
    assert long.status_code == 422
    assert "longer than 20 s" in long.json()["error"]
    large = server.post(write_video(tmp_path / "large.mp4", frames=2, width=4096, height=2304).read_bytes())
    assert large.status_code == 422
    assert "4096x2304" in large.json()["error"]
    many = server.post(write_video(tmp_path / "fine.mp4", frames=190).read_bytes(), "/api/predict?every=0.001")
    assert many.status_code == 422
    assert "more than 2000 windows" in many.json()["error"]
    for query in ("top=0", "top=x", "every=-1", "every=nan", "window=0"):
        response = server.post(b"x", f"/api/predict?{query}")
        assert response.status_code == 422
        assert response.json()["error"].startswith(query.partition("=")[0])


def test_damaged_and_odd_media(server: Server, clips: list[Path], shared: Path) -> None:
    content = clips[0].read_bytes()
    rng = np.random.default_rng(0)
    cases = [content[: len(content) // 2], content[100:]]
    for _ in range(20):
        damaged = bytearray(content)
        for place in rng.integers(len(content), size=20):
            damaged[place] = rng.integers(256)
        cases.append(bytes(damaged))
    cases += [
        path.read_bytes() for path in sorted((shared / "data/odd_media").iterdir()) if path.stat().st_size < 2**21
    ]
    for case in cases:
        response = server.post(case, "/api/predict?every=1")
        assert response.status_code in (200, 422), response.text
    assert httpx.get(f"{server.url}/health").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example:80"}, 403),
        ({"Host": "[::1]:80"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_pages_of_other_sites_are_refused(
    server: Server, headers: dict[str, str], status: int, clips: list[Path]
) -> None:
    response = server.post(clips[0].read_bytes(), headers=headers)
    assert response.status_code == status
    assert "access-control-allow-origin" not in response.headers


def test_a_page_of_the_server_may_ask(server: Server, clips: list[Path]) -> None:
    assert server.post(clips[0].read_bytes(), headers={"Origin": server.url}).status_code == 200


@pytest.mark.slow
def test_a_token_is_asked_for(tiny_run: Path, tmp_path: Path, clips: list[Path]) -> None:
    token = "a-long-secret-token"
    with serving(tiny_run, tmp_path, "--token", token, "--host", "0.0.0.0") as server:
        server.url = server.url.replace("0.0.0.0", "127.0.0.1")
        content = clips[0].read_bytes()
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}):
            assert server.post(content, headers=given).status_code == 401
            assert httpx.get(f"{server.url}/api/model", headers=given).status_code == 401
        headers = {"Authorization": f"Bearer {token}", "Host": "gpu.example"}
        assert server.post(content, headers=headers).status_code == 200
        assert httpx.get(f"{server.url}/health").status_code == 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "pass a --token"),
        (["--token", "short"], "16 characters"),
        (["--port", "{taken}"], "in use"),
        (["--port", "99999"], "65535"),
        (["--batch", "0"], "batch"),
    ],
)
def test_faults_of_users(
    tiny_run: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KINEMA_SERVE_TOKEN", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [part.format(taken=taken.getsockname()[1]) for part in arguments]
        assert main(["serve", str(tiny_run), *given]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_two_hundred_requests_with_eight_in_flight(tiny_run: Path, tmp_path: Path, clips: list[Path]) -> None:
    expected = {clip: kinema.load(tiny_run).predict(clip, top=8) for clip in clips}
    with serving(tiny_run, tmp_path) as server, httpx.Client(base_url=server.url, timeout=120) as client:

        def ask(number: int) -> None:
            clip = clips[number % len(clips)]
            headers = {"Content-Type": "video/mp4"}
            answer = client.post("/api/predict?top=8", content=clip.read_bytes(), headers=headers)
            assert answer.status_code == 200
            found = {one["label"]: one["score"] for one in answer.json()["predictions"]}
            assert found == pytest.approx({one.label: one.score for one in expected[clip]}, abs=1e-5)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(100)))
            before = server.memory()
            list(pool.map(ask, range(200)))
        assert server.memory() < before + 64 * 2**20
        assert client.get("/health").json()["requests"] == 0
        assert not server.files()


@pytest.mark.slow
def test_too_many_and_too_slow(tiny_run: Path, tmp_path: Path, clips: list[Path]) -> None:
    with serving(tiny_run, tmp_path, "--max-requests", "2", "--timeout", "3") as server:
        gate = threading.Event()

        def stalled() -> Iterator[bytes]:
            yield b"\0"
            gate.wait(30)
            yield b"\0"

        with ThreadPoolExecutor(2) as pool:
            slow = [pool.submit(server.post, stalled()) for _ in range(2)]
            until = time.monotonic() + 20
            while httpx.get(f"{server.url}/health").json()["requests"] < 2:
                assert time.monotonic() < until
            refused = server.post(clips[0].read_bytes())
            assert refused.status_code == 429
            assert refused.headers["Retry-After"]
            while httpx.get(f"{server.url}/health").json()["requests"]:
                assert time.monotonic() < until
            gate.set()
            for one in slow:
                error = one.exception()
                assert isinstance(error, httpx.HTTPError) if error else one.result().status_code == 408
        assert server.post(clips[0].read_bytes()).status_code == 200
        assert not server.files()


@pytest.mark.slow
def test_uploads_do_not_outlive_a_killed_server(tiny_run: Path, tmp_path: Path, clips: list[Path]) -> None:
    first, other = Server(tiny_run, tmp_path), Server(tiny_run, tmp_path)
    connections = []
    for server in (first, other):
        connection = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
        connections.append(connection)
        connection.sendall(b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: video/mp4\r\n")
        connection.sendall(b"Content-Length: 1000\r\n\r\nhalf of it")
    until = time.monotonic() + 20
    while len(first.files()) < 2:
        assert time.monotonic() < until
    first.stop(SIGKILL)
    assert len(first.files()) == 2
    with serving(tiny_run, tmp_path) as third:
        assert len(third.files()) == 1  # that of the one that is still running
        assert third.post(clips[0].read_bytes()).status_code == 200
    assert other.stop(SIGINT) == 0
    assert not other.files()
    for connection in connections:
        connection.close()


def test_an_upload_folder_that_others_could_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("open", "link"):
        with pytest.raises(kinema.UserError, match="only you can read"), upload_folder(tmp_path / name):
            pass
    with upload_folder(tmp_path / "own") as folder:
        (folder / "x").touch()
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["lock"]


def test_clips_that_wait_are_computed_together_and_each_gets_its_own() -> None:
    begun, go, sizes = threading.Event(), threading.Event(), list[int]()

    def compute(clips: torch.Tensor) -> torch.Tensor:
        sizes.append(len(clips))
        begun.set()
        go.wait(10)
        if (clips == 13).any():
            raise ValueError("unlucky")
        return clips.flatten(1).sum(1, keepdim=True)

    batches = Batches(compute, most=4)
    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(batches.scores, torch.full((1, 3), 1))
        begun.wait(10)
        rest = [pool.submit(batches.scores, torch.full((1, 3), number)) for number in range(2, 12)]
        other = pool.submit(batches.scores, torch.full((2, 5), 20))
        while batches._waiting.qsize() < 12:
            time.sleep(0.001)
        go.set()
        assert first.result().item() == 3
        assert [one.result().item() for one in rest] == [3 * number for number in range(2, 12)]
        assert other.result().flatten().tolist() == [100, 100]
        assert sizes[0] == 1
        assert max(sizes) == 4
        assert sum(sizes) == 13
        with pytest.raises(ValueError, match="unlucky"):
            batches.scores(torch.full((1, 3), 13))
        assert batches.scores(torch.full((1, 3), 2)).item() == 6
    batches.close()


@pytest.mark.slow
def test_the_api_is_as_it_is_described(server: Server, tmp_path: Path) -> None:
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json"),
        *("--max-examples", "30", "--seed", "1", "--checks", "all", "--exclude-checks"),
        "positive_data_acceptance,unsupported_method,negative_data_rejection",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]


def test_answers_are_strict_json(server: Server, clips: list[Path]) -> None:
    def refuse(name: str) -> Any:
        raise AssertionError(name)

    json.loads(server.post(clips[0].read_bytes(), "/api/predict?every=1").text, parse_constant=refuse)
