"""Does pre-training on unlabeled clips pay? Few labels of the drawn sample, with and without it.

    python examples/pretraining.py SAMPLE --work-dir runs/pretraining [--labels 5 10 25] [--seeds 3]

SAMPLE is the folder that `kinema prepare sample` has drawn. A small VideoMAE is pre-trained on all its training clips
without their labels, and fine-tuned on few labeled ones of each class. Beside it, the same network is trained from
scratch on the same labels: for as many steps as the fine-tuning (`scratch`), and for as long as pre-training and
fine-tuning together took (`scratch, equal time`). All are tested on the validation clips. What is done is not repeated;
the table and `accuracy.png` have the mean and standard deviation over the seeds.
"""

import argparse
import csv
import json
import math
from pathlib import Path
from statistics import mean, stdev

import kinema

PRETRAINING, RECIPE = "videomae_s_16x4_pretrain_small", "videomae_s_16x4_small"
METHODS = ("scratch", "scratch, equal time", "pre-trained")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sample", type=Path)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--labels", type=int, nargs="+", default=[5, 10, 25], help="labeled clips of each class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pretraining-epochs", type=int, default=60)
    parser.add_argument("--steps", type=int, default=400, help="of a fine-tuning")
    parser.add_argument("--size", type=int, default=64, help="of the clips, px")
    options = parser.parse_args()
    results: dict[tuple[int, str], list[float]] = {}
    for seed in range(options.seeds):
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
        "schedule.epochs": options.pretraining_epochs, "training.val_every": 10, "task.mask_ratio": 0.75,
        **sizes(options.size, "train_clip", "val_views"),
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
        "data.batch_size": batch, "data.train_clip.crop.flip": 0,
        **sizes(options.size, "train_clip", "val_views", "test_views"),
    }  # fmt: skip
    if not done(work_dir):
        resuming = (work_dir / "checkpoints/last").exists()
        config = kinema.config_of(RECIPE, values)
        kinema.train(config, work_dir=work_dir, resume=True, init="" if resuming else init)
        (work_dir / "done").touch()
    return rows(work_dir, "val")[-1]["top1"]


def sizes(size: int, *clips: str) -> dict[str, object]:
    """Options of clips of a size."""
    crops = {f"data.{name}.{'crop' if name == 'train_clip' else 'crops'}.size": size for name in clips}
    sides = {f"data.{name}.crops.short_side": size for name in clips if name != "train_clip"}
    return {"model.size": size, "model.patch": 8, **crops, **sides}


def labeled_list(sample: Path, folder: Path, labels: int, seed: int) -> Path:
    """Write a list of `labels` clips of each class, others with each seed."""
    folder.mkdir(parents=True, exist_ok=True)
    listing = folder / f"labeled_{labels}_{seed}.csv"
    with listing.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "class"])
        for name in sorted(path.name for path in (sample / "train").iterdir() if path.is_dir()):
            clips = sorted((sample / "train" / name).glob("*.mp4"))
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
    axes.set(xlabel="labeled clips of each class", ylabel="top-1", ylim=(0, 1))
    axes.legend()
    figure.savefig(options.work_dir / "accuracy.png", dpi=150)


def cell(values: list[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
