"""Check that the demo's model does what it was trained for: `check_demo.py RUN CLIP`.

Exits with 1 where the model names CLIP otherwise than CLIP's folder, or the test of RUN reached less than 95 % top-1.
"""

import json
import sys
from pathlib import Path

import kinema

REQUIRED = 0.95


def main(run: Path, clip: Path) -> str:
    """Return what is wrong; nothing where all is well."""
    top1 = json.loads((run / "test" / "metrics.json").read_text(encoding="utf-8"))["top1"]
    best = kinema.load(run).predict(clip)[0]
    print(f"top-1 {top1:.3f}; {clip.name} is recognized as {best.label} ({best.score:.3f})")
    if best.label != clip.parent.name:
        return f"{clip} shows {clip.parent.name}"
    return f"top-1 is {top1:.3f}, at least {REQUIRED} was expected" if top1 < REQUIRED else ""


if __name__ == "__main__":
    if fault := main(*map(Path, sys.argv[1:])):
        sys.exit(f"The demo failed: {fault}.")
