"""What commands answer about videos at URLs: the same as about the same files on the disk."""

import json
from pathlib import Path

import numpy as np
import pytest

from kinema.cli import main
from kinema.data.lists.inputs import find_inputs
from tests.storage.servers import WebProcess


@pytest.fixture(scope="module")
def tree(sample: Path) -> Path:
    """What lies at `url`."""
    return sample


def answers(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert main(["predict", *arguments, "--json"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_predictions(url: str, sample: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sorted((sample / "val").iterdir())[0].name
    expected = answers([str(tiny_run), str(sample / "val" / folder)], capsys)
    found = answers([str(tiny_run), f"{url}/val/{folder}"], capsys)
    assert [one["predictions"] for one in found] == [one["predictions"] for one in expected]
    assert [str(one["video"]).removeprefix(url) for one in found] == [
        str(one["video"]).removeprefix(str(sample)) for one in expected
    ]
    one = answers([str(tiny_run), str(found[1]["video"])], capsys)
    assert one == [found[1]]


def test_a_test_of_class_folders(url: str, sample: Path, tiny_run: Path, tmp_path: Path) -> None:
    """In loader processes, after the process that they are made of has listed the folders."""
    for name, place in (("there", f"{url}/val"), ("here", str(sample / "val"))):
        options = ["--data.val", place, "--data.workers", "2", "--work-dir", str(tmp_path / name)]
        assert main(["test", str(tiny_run), *options, "--dump", str(tmp_path / name / "dump.npz")]) == 0
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("there", "here")]
    assert metrics[0] == metrics[1]
    there, here = (np.load(tmp_path / name / "dump.npz") for name in ("there", "here"))
    assert np.array_equal(there["scores"], here["scores"])
    assert [path.removeprefix(url) for path in there["paths"]] == [
        path.removeprefix(str(sample)) for path in here["paths"]
    ]


def test_features(url: str, sample: Path, tiny_run: Path, tmp_path: Path) -> None:
    folder = sorted((sample / "val").iterdir())[0].name
    for name, place in (("there", url), ("here", str(sample))):
        options = ["--output", str(tmp_path / name), "--parts", "4", "--workers", "1"]
        assert main(["prepare", "features", str(tiny_run), f"{place}/val/{folder}", *options]) == 0
    names = sorted(path.name for path in (tmp_path / "here").glob("*.npy"))
    assert len(names) == 2
    for name in names:
        assert np.array_equal(np.load(tmp_path / "there" / name), np.load(tmp_path / "here" / name))


def test_what_is_not_there(url: str, tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(tiny_run), f"{url}/none"]) == 2
    assert f"no such video: {url}/none" in capsys.readouterr().err
    assert main(["predict", str(tiny_run), f"{url}/none.mp4"]) == 2
    assert f"{url}/none.mp4: No such file" in capsys.readouterr().err


def test_a_server_that_does_not_answer(
    sample: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tasks.recognition.predictor", "data.lists.inputs"):
        monkeypatch.setattr(f"kinema.{module}.WITHOUT_OPTION", 0.1)
    with WebProcess(sample) as server:
        server.kill()
        for path in ("x.mp4", "val"):
            assert main(["predict", str(tiny_run), f"{server.url}/{path}"]) == 75
            said = capsys.readouterr().err
            assert said.count("did not answer for 0.1 s") == 1
            assert "Traceback" not in said
            assert "cannot be read" not in said
        server.start()


def test_urls_where_a_local_path_is_needed(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(tiny_run), "x.mp4", "--output", "s3://bucket/answers.csv"]) == 2
    assert "--output: found the URL s3://bucket/answers.csv; this must be a local path" in capsys.readouterr().err
    assert not Path("s3:").exists()


def test_names_of_inputs_at_urls(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.mp4").touch()
    urls = ["https://host/a/x.mp4?v=1", "https://host/a/x.mp4?v=2", "https://host/b/y%20z.mp4", "s3://bucket/x.mp4"]
    assert [video.name for video in find_inputs(urls[:3])] == ["a/x.mp4", "a/x_2.mp4", "b/y z.mp4"]
    found = find_inputs([*urls, str(tmp_path / "a")])
    assert [video.path for video in found] == [*urls, str(tmp_path / "a" / "x.mp4")]
    assert len({video.name for video in found}) == 5


def test_timelines(url: str, sample: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file at a URL is decoded while it is read, in blocks."""
    clip = sorted((sample / "val").glob("*/*.mp4"))[0]
    printed = []
    for path in (str(clip), f"{url}/{clip.relative_to(sample).as_posix()}"):
        assert main(["predict", str(tiny_run), path, "--every", "0.2", "--window", "0.5", "--json"]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {line.pop("video") for line in lines} == {path}
        printed.append(lines)
    assert printed[0] == printed[1]
    assert len(printed[0]) > 3
