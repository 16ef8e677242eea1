"""Training steps with the data path: synthetic videos, decoded by loader workers, as `kinema benchmark train` does."""

from benchmarks.gpu.runner import Context

from kinema.benchmark.options import TrainMeasure
from kinema.benchmark.train import benchmark_train

RECIPES = ("tsm_r50_video_1x1x8_50e_kinetics400_rgb", "slowfast_r50_video_4x16x1_256e_kinetics400_rgb")
SHORT = ("tsm_r18_video_1x1x8_sample_rgb",)


def run(context: Context) -> None:
    """Measure one recipe of sparse and one of dense sampling."""
    for recipe in SHORT if context.short else RECIPES:
        if context.left() < 10:
            context.emit("data", recipe=recipe, left_out="no time left")
            continue
        iters = 2 if context.short else 30
        measure = TrainMeasure(
            iters=iters, skip=1 if context.short else 5, parts=iters // 2, sample_videos=2, sample_frames=64
        )
        options = {"runtime.device": context.device.type, "runtime.precision": "bf16"}
        options |= {"data.workers": "0"} if context.short else {}
        figures = benchmark_train(recipe, measure, options, folder=context.folder)
        assert figures is not None
        context.emit(
            "data", recipe=recipe, batch_size=figures.batch_size, s_per_iter=figures.s_per_iter,
            data_wait_share=figures.data_wait_share, compute_s_per_iter=figures.compute_s_per_iter,
            data_s_per_iter=figures.data_s_per_iter, videos_per_s=figures.videos_per_s, memory_GiB=figures.memory_gib,
        )  # fmt: skip
    reason = "Kinema has no reader that decodes on the GPU yet"
    context.emit("data", recipe="NVDEC, nvJPEG", left_out=reason)
