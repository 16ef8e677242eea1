"""What a batch of test videos may hold."""

from pathlib import Path

import pytest
import torch

from kinema.data.crops import ViewCrops
from kinema.data.lists.annotations import read_index
from kinema.data.options import DataOptions
from kinema.data.sampling import Sampling
from kinema.data.views import Views
from kinema.runtime.processes import Process
from kinema.tasks.recognition.evaluation.evaluate import evaluation_batches


@pytest.mark.parametrize(
    ("clip_len", "num_clips", "crops", "videos"), [(32, 10, "three", 1), (4, 10, "three", 8), (25, 1, "ten", 4)]
)
def test_many_views_make_batches_of_few_videos(
    clip_len: int, num_clips: int, crops: str, videos: int, tmp_path: Path
) -> None:
    views = Views(sampling=Sampling(clip_len=clip_len, num_clips=num_clips), crops=ViewCrops(crops=crops))  # type: ignore[arg-type]
    (tmp_path / "videos.txt").write_text("".join(f"{number}.mp4 0\n" for number in range(20)))
    index = read_index(str(tmp_path / "videos.txt"), kind="video")
    batches = evaluation_batches(
        index, views, DataOptions(val_batch_size=8, workers=0), Process(device=torch.device("cpu"))
    )
    assert len(batches) == -(-20 // videos)
