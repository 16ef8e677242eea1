"""A dataset whose features show where actions start, go on and end: a localizer that works must find nearly all."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def write_planted(
    folder: Path, *, videos: int, channels: int = 64, parts: int = 50, seed: int = 0, labels: Sequence[str] = ("turn",)
) -> dict[str, str]:
    """Write features and a ground truth; a quarter of the videos is for validation. Returns the options for both.

    Channel 0 is high during an action, channels 1 and 2 around its start and its end. Of several labels, each has a
    channel of its own from 3 on, which is high during its actions. The others are noise.
    """
    random = np.random.default_rng(seed)
    (folder / "features").mkdir(parents=True)
    database = {}
    for number in range(videos):
        seconds, features = random.uniform(30, 120), random.normal(0, 0.5, (parts, channels))
        instances, end = list[dict[str, object]](), 0.0
        for _ in range(random.integers(1, 4)):
            start = end + random.uniform(0.05, 0.15)
            end = start + random.uniform(0.08, 0.3)
            if end > 0.98:
                break
            middle = (np.arange(parts) + 0.5) / parts
            inside, label = (middle >= start) & (middle < end), (number + len(instances)) % len(labels)
            features[:, 0] += 3 * inside
            if len(labels) > 1:
                features[:, 3 + label] += 3 * inside
            for channel, place in ((1, start), (2, end)):
                features[:, channel] += 4 * np.exp(-(((middle - place) * parts) ** 2) / 2)
            instances.append({"label": labels[label], "segment": [start * seconds, end * seconds]})
        name = f"v_{number:03}"
        np.save(folder / "features" / f"{name}.npy", features.astype(np.float32))
        subset = "training" if number % 4 else "validation"
        database[name] = {"duration": seconds, "subset": subset, "annotations": instances}
    (folder / "truth.json").write_text(json.dumps({"database": database}))
    return {"data.ground_truth": str(folder / "truth.json"), "data.features": str(folder / "features")}
