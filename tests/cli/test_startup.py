"""Commands that need no network do without torch, whose import takes longer than all else they do."""

import subprocess
import sys

import pytest

REFUSING = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "matplotlib", "torchmetrics"):
            raise SystemExit(f"imports {name}")
sys.meta_path.insert(0, Refuse())
from kinema.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "code", "printed"),
    [
        ("--help", 0, "kinema"),
        ("--version", 0, "."),
        ("nonsense", 2, "nonsense"),
        ("recipes --help", 0, "PATTERN"),
        ("recipes nonsense", 2, "nonsense"),
        ("zoo --help", 0, "PATTERN"),
        ("zoo tsm", 0, "tsm_r50_video_1x1x8_50e_kinetics400_rgb"),
        ("zoo --json", 0, "sha256"),
        ("zoo nonsense", 2, "nonsense"),
        ("train --help", 0, "--work-dir"),
        ("train", 2, "pass a RECIPE"),
        ("train tsm_r50_vide_1x1x8_50e_kinetics400_rgb", 2, "did you mean"),
        ("train bsn_pgm_400x100_activitynet_feature", 2, "kinema prepare candidates"),
        ("test --help", 0, "--dump"),
        ("submit --help", 0, "--nodes"),
        ("predict --help", 0, "--render"),
        ("localize --help", 0, "--plot"),
        ("convert --help", 0, "--from"),
        ("export --help", 0, "--int8"),
        ("prepare --help", 0, "candidates"),
        ("benchmark --help", 0, "train"),
        ("evaluate --help", 0, "detection"),
    ],
)
def test_without_torch(arguments: str, code: int, printed: str) -> None:
    ran = subprocess.run([sys.executable, "-c", REFUSING, *arguments.split()], capture_output=True, text=True)
    assert "imports" not in ran.stderr, ran.stderr
    assert ran.returncode == code
    assert printed in " ".join((ran.stdout + ran.stderr).split())
