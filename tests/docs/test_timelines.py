"""The program of docs/timelines.md that reads answers from a pipe."""

import json
import subprocess
import sys
from pathlib import Path

from tests.docs.commands import python_files


def test_the_alarm_speaks_once_for_each_event(tmp_path: Path) -> None:
    program = python_files("docs/timelines.md")["alarm.py"]
    (tmp_path / "alarm.py").write_text(program)
    scores = [0.1, 0.79, 0.8, 0.95, 0.6, 0.5, 0.49, 0.7, 0.9]
    lines = [
        json.dumps(
            {"video": "a.mp4", "start": k / 2, "end": k / 2 + 2, "scores": {"serve": score, "volley": 1 - score}}
        )
        for k, score in enumerate(scores)
    ]
    ran = subprocess.run(
        [sys.executable, tmp_path / "alarm.py"], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == ["a.mp4: serve at 1.0 s", "a.mp4: serve at 4.0 s"]
