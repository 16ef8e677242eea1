"""The comparison of localizers of examples/when.py, from clips to its table, on very few and short videos."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.data.drawn_videos import write_video

EXAMPLES = Path(__file__).parents[2] / "examples"
METHODS = ["recognizer", "bmn", "bsn", "actionformer", "tridet"]


def run(program: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / program), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture
def untrimmed(sample: Path, tmp_path: Path) -> Path:
    """Eight videos for training and two for validation, of drawn clips and, between them, footage of something else."""
    clips, footage = tmp_path / "clips", tmp_path / "footage"
    clips.mkdir()
    footage.mkdir()
    rows = [
        f"{path},{path.parent.name},{int(split == 'train')}"
        for split in ("train", "val")
        for path in sorted(sample.glob(f"{split}/*/*.mp4"))
    ]
    (clips / "groups.csv").write_text("\n".join(["path,label,fold", *rows]) + "\n")
    for number in range(6):
        write_video(footage / f"{number}.mp4", times=range(60))
    run("untrimmed.py", clips, footage, "--output", tmp_path / "untrimmed", "--train", 8, "--val", 2)
    return tmp_path / "untrimmed"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_localizers_are_in_the_table(untrimmed: Path, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    torch.save(timm.create_model("tf_efficientnet_lite0").state_dict(), tmp_path / "random.pth")
    trial = ("--epochs", 1, "--stride", 16, "--size", 64)
    arguments = (untrimmed, "--weights", tmp_path / "random.pth", "--work-dir", tmp_path / "when", *trial)
    first = run("when.py", *arguments)
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in first.splitlines() if line[:1] == "|"
    ]
    assert header[-2:] == ["average mAP", "minutes"]
    assert [name for name, *_ in rows] == ["sliding windows", *METHODS]
    for name, *values in rows:
        numbers = [float(value) for value in values if value]
        assert len(numbers) == (5 if name == "sliding windows" else 10)
        assert all(0 <= number <= 1 for number in numbers[:9])
    assert "kinema train" in first
    second = run("when.py", *arguments)  # what is done is not repeated
    assert "kinema" not in second
    assert second.splitlines()[-len(rows) :] == first.splitlines()[-len(rows) :]
