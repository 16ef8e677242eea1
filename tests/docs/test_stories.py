"""What README and docs/localization.md say is done: each of their commands in turn, on the drawn sample."""

import json
import shlex
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import av
import pytest

from kinema.cli import main
from tests.conftest import TINY
from tests.docs.commands import ROOT, Line, lines_of
from tests.tasks.localization.test_localize import write_joined

pytestmark = pytest.mark.slow

_CLIPS = [
    *(
        f"--{key.replace('_', '-')}={value}"
        for key, value in TINY.items()
        if key not in ("model.width", "schedule.epochs")
    ),
    "--schedule.epochs=1",
]
"""Short trainings of the recipes that the pages name, at their own width: localizers read its features."""
_FEW = ["--data.workers=0", "--data.batch-size=2"]
_SHORT = ["schedule.epochs=2", "schedule.milestones=1"]


@pytest.fixture
def project(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the pages name."""
    for name in ("videos", "clips"):
        (tmp_path / name).symlink_to(sample)
    monkeypatch.chdir(tmp_path)
    clips = sorted((sample / "train").glob("*/*.mp4"))
    database = {}
    for number in range(4):
        parts = clips[number :: len(clips) // 3][:3]
        name = f"match_{number}"
        lengths = write_joined(Path("long_videos") / f"{name}.mp4", parts)
        segment = [lengths[0] / 10, sum(lengths[:2]) / 10]
        database[name] = {
            "subset": "training" if number < 2 else "validation",
            "duration": sum(lengths) / 10,
            "annotations": [{"label": parts[1].parent.name, "segment": segment}],
        }
    Path("truth.json").write_text(json.dumps({"database": database}))
    listed = [name for name, entry in database.items() if entry["subset"] == "validation"]
    labels = [database[name]["annotations"][0]["label"] for name in listed]
    Path("long_videos.txt").write_text(
        "".join(f"long_videos/{name}.mp4 {label}\n" for name, label in zip(listed, labels, strict=True))
    )
    for name in ("match.mp4", "new_video.mp4"):
        shutil.copy("long_videos/match_3.mp4", name)
    return tmp_path


def run(line: Line, *further: str) -> None:
    assert main([*line.arguments, *further]) == 0, line.text


def shortened(line: Line) -> list[str]:
    """Options that make a training a matter of seconds, and its log long enough to be measured."""
    words = line.arguments
    if words[:2] == ["benchmark", "log"]:
        return ["--skip=0"]
    if words[0] != "train":
        return []
    recipe = words[1]
    if recipe.startswith(("bsn_4", "bsn_6")):
        return [*_FEW, *(f"--{stage}.{option}" for stage in ("tem", "pem") for option in _SHORT)]
    if recipe.startswith(("actionformer", "tridet")):
        return [*_FEW, "--schedule.epochs=2"]
    if recipe.startswith(("bmn", "bsn")):
        return [*_FEW, *(f"--{option}" for option in _SHORT)]
    return _CLIPS + ["--data.train=videos/train"] * ("…" in line.text)


def test_localization(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in lines_of("docs/localization.md"):
        if "thumos14.json" in line.text:  # a large network, on features that are not at hand
            continue
        capsys.readouterr()
        run(line, *shortened(line))
        printed = capsys.readouterr()
        assert "is there, but" not in printed.err
        if "--json" in line.text:
            json.loads(printed.out)
    assert Path("timeline.png").stat().st_size > 0
    metrics = json.loads(printed.out)
    assert 0 <= metrics["average_mAP"] <= 1


def test_readme(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    served = partial(SimpleHTTPRequestHandler, directory="videos")
    with ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        write_lists(project)
        for line in lines_of("README.md"):
            text = line.text.replace("http://localhost:8000", f"http://127.0.0.1:{server.server_port}")
            text = text.replace("/tmp/videos", str(project / "cache")).replace("slowfast.log", "")
            words = Line(line.page, text).arguments
            if words[0] == "serve":  # until it is stopped: tests/serve
                continue
            if not any(part in text for part in ("r50", "compare", "r2plus1d", "my_recipes", "runs/mine")):
                run(Line(line.page, shlex.join(words)), *shortened(line))
            if "runs/strokes" in text and words[0] == "train":
                for copy in ("runs/other", "runs/rgb", "runs/flow"):
                    shutil.copytree("runs/strokes", copy, dirs_exist_ok=True)
        server.shutdown()
    with av.open("out.mp4") as video:
        assert video.streams.video[0].frames > 0
    assert len(Path("out.csv").read_text().splitlines()) == 1 + len(list(Path("videos/val").glob("*/*.mp4")))
    blocks = (ROOT / "README.md").read_text().split("```python\n")
    capsys.readouterr()
    exec(blocks[1].partition("```")[0], {})
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_choosing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    page = (ROOT / "docs" / "choosing.md").read_text()
    space = page.split("```yaml\n")[1].partition("```")[0]
    Path("space.yaml").write_text(space.replace("{low: 10, high: 60}", "{low: 1, high: 2}"))
    lines = list(lines_of("docs/choosing.md"))
    training = next(line for line in lines if "runs/strokes" in line.text and line.arguments[0] == "train")
    run(training, *_CLIPS)
    run(Line(training.page, "test runs/strokes --work-dir dumped --dump scores.npz"))
    for line in lines:
        if line.arguments[0] == "tune":
            searched = [
                option for option in _CLIPS if not option.startswith(("--schedule.epochs", "--schedule.warmup"))
            ]
            run(Line(line.page, line.text.replace("--trials 20", "--trials 2")), *searched)
            continue
        if line.arguments[0] == "train" and "runs/strokes" in line.arguments and "--init" not in line.arguments:
            shutil.rmtree("runs/strokes")
        run(line, *shortened(line))
    assert json.loads(Path("per_class.json").read_text())[0]["support"] == 2
    assert Path("runs/search/trials.csv").read_text().startswith("trial,state,top1,validations,optim.lr")
    assert list(Path("runs/strokes/wandb").glob("offline-run-*/*.wandb"))


def write_lists(project: Path) -> None:
    (project / "lists").mkdir()
    for split in ("train", "val"):
        rows = [
            f"{path.relative_to('videos')},{path.parent.name}" for path in sorted(Path("videos", split).glob("*/*.mp4"))
        ]
        (project / f"lists/{split}.csv").write_text("\n".join(["path,label", *rows]) + "\n")
