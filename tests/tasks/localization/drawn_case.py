"""Instances and detections whose measures by official programs are known."""

import numpy as np

from kinema.tasks.localization.metrics.annotations import GroundTruth, Results


def drawn_case() -> tuple[GroundTruth, Results]:
    """Many detections, made by arithmetic alone, so that other programs can make them, too."""
    names = ("Dive", "Jump", "Run", "Swim")
    instances, detections = [], []
    for video in range(12):
        own = []
        for k in range(2 + video * 5 % 7):
            start = (video * 37 + k * 61) % 190
            own.append((start, start + 2 + (video * 29 + k * 17) % 45, (video + k // 2) % 4))
        instances += [(video, *each) for each in own]
        for k, (start, end, label) in enumerate(own):
            for copy in range(3):
                first = start + ((video * 13 + k * 7 + copy * 11) % 9 - 4) / 16 * (end - start)
                longer = ((video * 5 + k * 3 + copy * 17) % 7 - 3) / 12 * (end - start)
                said = label if (k + copy * 2 + video) % 5 else (label + 1) % 4
                score = (len(detections) + 1) * 389 % 1009 / 1009
                detections.append((video, first, first + (end - start) + longer, said, score))
        for k in range(150):
            start = (video * 53 + k * 29) % 220
            score = (len(detections) + 1) * 389 % 5003 / 10009
            detections.append((video, start, start + 1 + k % 17, (video * 3 + k) % 4, score))
    wanted, said_ = np.array(instances, np.float64), np.array(detections, np.float64)
    return GroundTruth(
        videos=tuple(f"v{video}" for video in range(12)),
        labels=names,
        video=wanted[:, 0].astype(np.int64),
        label=wanted[:, 3].astype(np.int64),
        segments=wanted[:, 1:3],
        durations=np.full(12, 240.0),
    ), Results(
        video=said_[:, 0].astype(np.int64),
        label=said_[:, 3].astype(np.int64),
        segments=said_[:, 1:3],
        scores=said_[:, 4] + 1e-7 * np.arange(1, len(said_) + 1),  # no two are equal
    )
