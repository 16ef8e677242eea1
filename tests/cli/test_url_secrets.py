"""Users, passwords and tokens of URLs are printed nowhere: not in answers, messages, files or their names."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kinema.cli import main
from tests.storage.servers import WebServer, free_port, web_server

SECRETS = ("hunter2", "operator7", "t0kenvalue")
AUTH = "operator7:hunter2@"
QUERY = "?token=t0kenvalue"


@pytest.fixture(scope="module")
def web(sample: Path) -> Iterator[WebServer]:
    with web_server(sample / "val", ranges=True) as web:
        yield web


@pytest.fixture(scope="module")
def clips(web: WebServer, sample: Path) -> list[str]:
    """URLs with secrets."""
    found = sorted(sample.glob("val/*/*.mp4"))[:2]
    names = [clip.relative_to(sample / "val").as_posix() for clip in found]
    return [f"{web.url.replace('://', f'://{AUTH}')}/{name}{QUERY}" for name in names]


def shown(url: str) -> str:
    return url.replace(AUTH, "").replace(QUERY, "?token=…")


def ran(arguments: list[object], code: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What a command prints; neither that nor what it writes to a folder has secrets."""
    assert main([str(one) for one in arguments]) == code
    printed = capsys.readouterr()
    written = list(folder.rglob("*"))
    texts = [printed.out, printed.err, *map(str, written)]
    texts += [path.read_bytes().decode("latin-1") for path in written if path.is_file()]
    for secret in SECRETS:
        for form in (secret, base64.b64encode(f"{AUTH[:-1]}".encode()).decode()):
            assert not [text for text in texts if form in text]
    return printed.out, printed.err


def test_answers_about_videos(
    tiny_run: Path, clips: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [shown(url) for url in clips]
    printed, _ = ran(["predict", tiny_run, *clips, "--json"], 0, tmp_path, capsys)
    answers = json.loads(printed)
    assert [answer["video"] for answer in answers] == names
    for output in ("a.csv", "a.jsonl"):
        command = ["predict", tiny_run, *clips, "--output", tmp_path / output]
        printed, _ = ran(command, 0, tmp_path, capsys)
        assert [line.split()[0] for line in printed.splitlines()] == names
        before = (tmp_path / output).read_bytes()
        # Continued, also where the token is another one.
        command = [
            "predict",
            tiny_run,
            *(url.replace("t0ken", "t1ken") for url in clips),
            "--output",
            tmp_path / output,
        ]
        _, said = ran(command, 0, tmp_path, capsys)
        assert "has the answers of 2 of 2 videos" in said
        assert (tmp_path / output).read_bytes() == before


@pytest.mark.slow
def test_answers_along_videos(
    tiny_run: Path, clips: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {shown(url) for url in clips}
    outputs = ["--output", tmp_path / "a.jsonl", "--timeline", tmp_path / "drawn"]
    printed, _ = ran(["predict", tiny_run, *clips, "--every", 1, *outputs, "--json"], 0, tmp_path, capsys)
    assert {json.loads(line)["video"] for line in printed.splitlines()} == names
    assert {json.loads(line)["video"] for line in (tmp_path / "a.jsonl").read_text().splitlines()} == names
    assert len([*(tmp_path / "drawn").rglob("*.png")]) == 2
    _, said = ran(["predict", tiny_run, *clips, "--every", 1, *outputs[:2]], 0, tmp_path, capsys)
    assert said.count("continued after") == 2


@pytest.mark.slow
def test_segments_and_features(
    tiny_run: Path, clips: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = ["--output", tmp_path / "a.json", "--plot", tmp_path / "drawn", "--curve.every", 1]
    printed, _ = ran(["localize", tiny_run, *clips, *outputs, "--json"], 0, tmp_path, capsys)
    assert len(json.loads(printed)["results"]) == 2
    _, said = ran(["localize", tiny_run, *clips, *outputs], 0, tmp_path, capsys)
    assert "has the answers of 2 of 2 videos" in said
    missing = clips[0].replace(".mp4", "_missing.mp4")
    features = ["prepare", "features", tiny_run, *clips, missing, "--output", tmp_path / "features", "--workers", 1]
    _, said = ran(features, 1, tmp_path, capsys)
    assert shown(missing) in said
    assert shown(missing) in (tmp_path / "features" / "failures.csv").read_text()


def test_reports_of_preparations(web: WebServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.csv").write_text("path,label\nnone.mp4,0\n")
    root = web.url.replace("://", f"://{AUTH}")
    missing = f"{web.url}/none.mp4"
    for name, report in (("check", "check.csv"), ("frames", "out/failures.csv")):
        given = [tmp_path / "list.csv", *([tmp_path / "out"] if name == "frames" else ["--report", tmp_path / report])]
        _, said = ran(["prepare", name, *given, "--root", root, "--workers", 1], 1, tmp_path, capsys)
        assert missing in said
        assert missing in (tmp_path / report).read_text()
    _, said = ran(["prepare", "check", f"{root}/none.mp4{QUERY}"], 2, tmp_path, capsys)
    assert f"'{missing}?token=…'" in said


def test_a_preparation_from_a_server_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinema.data.patience.WITHOUT_OPTION", 0.1)
    (tmp_path / "list.csv").write_text("path,label\na.mp4,0\n")
    root = f"https://{AUTH}127.0.0.1:{free_port()}/x"
    given = ["prepare", "check", tmp_path / "list.csv", "--report", tmp_path / "check.csv", "--workers", 1]
    _, said = ran([*given, "--root", root], 75, tmp_path, capsys)
    assert "127.0.0.1" in said
    _, said = ran(["prepare", "check", root, *given[3:]], 75, tmp_path, capsys)
    assert "127.0.0.1" in said


@pytest.mark.parametrize("command", [["predict"], ["predict", "--every", "1"], ["localize"]])
def test_faults(
    command: list[str], tiny_run: Path, clips: list[str], web: WebServer, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    name, *options = command
    missing = clips[0].replace(".mp4", "_missing.mp4")
    folder = clips[0].replace(urlsplit(clips[0]).path, "/missing/")
    for faulty, code in ((missing, 2), (folder, 2)):
        _, said = ran([name, tiny_run, faulty, *options], code, tmp_path, capsys)
        assert shown(faulty).removesuffix("?token=…") in said
    _, said = ran([name, tiny_run, clips[0], *options, "--no-such-option", clips[1]], 2, tmp_path, capsys)
    assert "no-such-option" in said
    _, said = ran([name, tiny_run, clips[0], *options, f"--font={clips[1]}"], 2, tmp_path, capsys)
    assert "--font" in said
    _, said = ran([name, clips[0], clips[1], *options], 2, tmp_path, capsys)
    assert "must be a local path" in said


@pytest.mark.slow
def test_a_server_that_does_not_answer(
    tiny_run: Path, clips: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("kinema.data.lists.inputs.WITHOUT_OPTION", 0.1)
    monkeypatch.setattr("kinema.tasks.recognition.predictor.WITHOUT_OPTION", 0.1)
    gone = f"http://{AUTH}127.0.0.1:{free_port()}/a.mp4{QUERY}"
    _, said = ran(["predict", tiny_run, gone], 75, tmp_path, capsys)
    assert shown(gone) in said
