"""Does pre-training on unlabeled clips pay? Few labels of the drawn sample, with and without it.

    kinema prepare sample sample
    kinema prepare pack sample/train packed/train --short-side 64 --every 4
    kinema prepare pack sample/val packed/val --short-side 64 --every 4
    python examples/pretraining.py packed --work-dir runs/pretraining [--labels 5 10 25] [--seeds 0 1 2]
        [--group.option value …]

A small VideoMAE is pre-trained on all training clips without their labels, and fine-tuned on few labeled ones of each
class. Beside it, the same network is trained from scratch on the same labels: for as many steps as the fine-tuning
(`scratch`), and for as long as pre-training and fine-tuning together took (`scratch, equal time`). All are tested on
the validation clips. What is done is not repeated, and processes with a seed each can work at the same time; the table
and `accuracy.png` have the mean and standard deviation over the seeds. Further options are those of both recipes.
"""

import argparse
import csv
import json
import math
from pathlib import Path
from statistics import mean, stdev

import kinema
from kinema.config import parse_arguments

PRETRAINING, RECIPE = "videomae_s_16x4_pretrain_small", "videomae_s_16x4_small"
METHODS = ("scratch", "scratch, equal time", "pre-trained")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sample", type=Path, help="folder with train/ and val/ of packed clips")
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--labels", type=int, nargs="+", default=[5, 10, 25], help="labeled clips of each class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pretraining-epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=800, help="of a fine-tuning")
    parser.add_argument("--size", type=int, default=48, help="of the clips, px")
    options, keys = parser.parse_known_args()
    options.keys = parse_arguments(keys)
    results: dict[tuple[int, str], list[float]] = {}
    for seed in options.seeds:
        pretrained = options.work_dir / f"pretrained_{seed}"
        pretrain(pretrained, seed, options)
        for labels in options.labels:
            listing = labeled_list(options.sample, options.work_dir, labels, seed)
            fine = options.work_dir / f"fine_{labels}_{seed}"
            steps = options.steps
            for method in ("pre-trained", "scratch", "scratch, equal time"):
                if method == "scratch, equal time":
                    steps = math.ceil(steps * (1 + seconds(pretrained) / seconds(fine)))
                folder = (
                    fine if method == "pre-trained" else fine.with_name(f"{method.replace(', ', '_')}_{labels}_{seed}")
                )
                init = pretrained if method == "pre-trained" else ""
                found = fine_tune(folder, listing, labels, steps, seed, options, init=init)
                results.setdefault((labels, method), []).append(found)
                print(
                    f"seed {seed}, {labels} labels a class, {method}: top-1 {found:.3f} after {steps} steps", flush=True
                )
    report(results, options)


def pretrain(work_dir: Path, seed: int, options: argparse.Namespace) -> None:
    """Pre-train on all training clips, unless it is done."""
    values = {
        "data.train": str(options.sample / "train"), "data.val": str(options.sample / "val"), "training.seed": seed,
        "schedule.epochs": options.pretraining_epochs, "schedule.warmup_epochs": options.pretraining_epochs * 0.1,
        "training.val_every": options.pretraining_epochs, "task.mask_ratio": 0.75,
        **shape(options.size, "train_clip", "val_views"), **options.keys,
    }  # fmt: skip
    if not done(work_dir):
        kinema.train(kinema.config_of(PRETRAINING, values), work_dir=work_dir, resume=True)
        (work_dir / "done").touch()


def fine_tune(
    work_dir: Path, listing: Path, labels: int, steps: int, seed: int, options: argparse.Namespace, *, init: str | Path
) -> float:
    """Train on a list of labeled clips, unless it is done; return the accuracy of the last epoch's weights."""
    batch = 16
    epochs = max(1, round(steps / max(1, 8 * labels // batch)))
    values = {
        "data.train": str(listing), "data.val": str(options.sample / "val"), "training.seed": seed,
        "schedule.epochs": epochs, "schedule.warmup_epochs": epochs * 0.1, "training.val_every": epochs,
        "data.batch_size": batch, "data.train_clip.crop.flip": 0, "model.drop_path": 0.0,
        "optim.lr_batch": batch, "optim.layer_decay": 1.0,
        **shape(options.size, "train_clip", "val_views", "test_views"), **options.keys,
    }  # fmt: skip
    if not done(work_dir):
        resuming = (work_dir / "checkpoints/last").exists()
        config = kinema.config_of(RECIPE, values)
        kinema.train(config, work_dir=work_dir, resume=True, init="" if resuming else init)
        (work_dir / "done").touch()
    return rows(work_dir, "val")[-1]["top1"]


def shape(size: int, *clips: str) -> dict[str, object]:
    """Options of a small network, and of its clips of 8 frames, every fourth, of a size."""
    crops = {f"data.{name}.{'crop' if name == 'train_clip' else 'crops'}.size": size for name in clips}
    sides = {f"data.{name}.crops.short_side": size for name in clips if name != "train_clip"}
    sampling = {"clip_len": 8, "frame_interval": 4}
    frames = {f"data.{name}.sampling.{key}": value for name in clips for key, value in sampling.items()}
    network = {"model.size": size, "model.frames": 8, "model.width": 128, "model.depth": 4, "model.heads": 2}
    return {**network, "data.source": "packed", "data.workers": 0, **crops, **sides, **frames}


def labeled_list(sample: Path, folder: Path, labels: int, seed: int) -> Path:
    """Write a list of `labels` clips of each class, others with each seed."""
    folder.mkdir(parents=True, exist_ok=True)
    listing = folder / f"labeled_{labels}_{seed}.csv"
    with listing.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "class"])
        for name in sorted(path.name for path in (sample / "train").iterdir() if path.is_dir()):
            clips = sorted((sample / "train" / name).glob("*.pack"))
            writer.writerows([clip.resolve(), name] for clip in clips[seed * labels : (seed + 1) * labels])
    return listing


def done(work_dir: Path) -> bool:
    return (work_dir / "done").exists()


def rows(work_dir: Path, split: str) -> list[dict[str, float]]:
    lines = map(json.loads, (work_dir / "metrics.jsonl").read_text().splitlines())
    return [row for row in lines if row["split"] == split]


def seconds(work_dir: Path) -> float:
    """Duration of a run's training steps."""
    training = rows(work_dir, "train")
    return mean(row["step_time"] for row in training) * training[-1]["step"]


def report(results: dict[tuple[int, str], list[float]], options: argparse.Namespace) -> None:
    """Print the table and draw the plot."""
    import matplotlib.pyplot as plt

    print(f"\n| labels a class | {' | '.join(METHODS)} |\n|---|{'---|' * len(METHODS)}")
    for labels in options.labels:
        print(f"| {labels} | {' | '.join(cell(results[labels, method]) for method in METHODS)} |")
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for method, line in zip(METHODS, (":", "--", "-"), strict=True):
        values = [results[labels, method] for labels in options.labels]
        spread = [stdev(each) if len(each) > 1 else 0.0 for each in values]
        axes.errorbar(options.labels, [*map(mean, values)], spread, label=method, linestyle=line, capsize=3, marker="o")
    axes.set(xlabel="labeled clips of each class", ylabel="top-1", ylim=(0, 1), xticks=options.labels)
    axes.legend()
    figure.savefig(options.work_dir / "accuracy.png", dpi=150)


def cell(values: list[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
