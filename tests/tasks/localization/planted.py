"""A dataset whose features show where actions start, go on and end: a localizer that works must find nearly all."""

import json
from pathlib import Path

import numpy as np


def write_planted(folder: Path, *, videos: int, channels: int = 64, parts: int = 50, seed: int = 0) -> dict[str, str]:
    """Write features and a ground truth; a quarter of the videos is for validation. Returns the options for both.

    Channel 0 is high during an action, channels 1 and 2 around its start and its end; the others are noise.
    """
    random = np.random.default_rng(seed)
    (folder / "features").mkdir(parents=True)
    database = {}
    for number in range(videos):
        seconds, features = random.uniform(30, 120), random.normal(0, 0.5, (parts, channels))
        instances, end = [], 0.0
        for _ in range(random.integers(1, 4)):
            start = end + random.uniform(0.05, 0.15)
            end = start + random.uniform(0.08, 0.3)
            if end > 0.98:
                break
            middle = (np.arange(parts) + 0.5) / parts
            features[:, 0] += 3 * ((middle >= start) & (middle < end))
            for channel, place in ((1, start), (2, end)):
                features[:, channel] += 4 * np.exp(-(((middle - place) * parts) ** 2) / 2)
            instances.append({"label": "turn", "segment": [start * seconds, end * seconds]})
        name = f"v_{number:03}"
        np.save(folder / "features" / f"{name}.npy", features.astype(np.float32))
        subset = "training" if number % 4 else "validation"
        database[name] = {"duration": seconds, "subset": subset, "annotations": instances}
    (folder / "truth.json").write_text(json.dumps({"database": database}))
    return {"data.ground_truth": str(folder / "truth.json"), "data.features": str(folder / "features")}
