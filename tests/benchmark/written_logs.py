"""Logs as the tools' own logger code writes them, of made-up times."""

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Iteration:
    """Of the times that a log is written from."""

    seconds: float
    data: float


def windows(run: Sequence[Iteration], per_epoch: int, interval: int) -> list[tuple[int, int, float, float]]:
    """Epoch from 1, iteration from 1, mean seconds and data seconds of each `interval` iterations of an epoch."""
    found = []
    for start in range(0, len(run), per_epoch):
        epoch = run[start : start + per_epoch]
        for end in range(interval, len(epoch) + 1, interval):
            part = epoch[end - interval : end]
            mean = sum(one.seconds for one in part) / interval, sum(one.data for one in part) / interval
            found.append((start // per_epoch + 1, end, *mean))
    return found


def mmaction(run: Sequence[Iteration], per_epoch: int, interval: int = 20, logger: str = "") -> str:
    """MMAction (`logger` empty) and MMAction2 0.x ("mmaction - "), by mmcv's TextLoggerHook."""
    lines = [f"2020-07-27 13:16:00,000 - {logger}INFO - workflow: [('train', 1)], max: 1 epochs"]
    for epoch, iteration, seconds, data in windows(run, per_epoch, interval):
        lines.append(
            f"2020-07-27 13:17:10,220 - {logger}INFO - Epoch [{epoch}][{iteration}/{per_epoch}]\tlr: 1.000e-02, eta: "
            f"2 days, 20:27:57, time: {seconds:.3f}, data_time: {data:.3f}, memory: 8342, loss: 2.6613"
        )
    lines.append(f"2020-07-27 13:18:00,000 - {logger}INFO - Epoch(val) [1][{per_epoch}]\ttop1_acc: 0.1000, time: 9.000")
    return "\n".join(lines) + "\n"


def mmaction2_json(run: Sequence[Iteration], per_epoch: int, interval: int = 20) -> str:
    """The .log.json beside it."""
    rows: list[dict[str, object]] = [{"env_info": "sys.platform: linux", "seed": None, "exp_name": "tsn.py"}]
    for epoch, iteration, seconds, data in windows(run, per_epoch, interval):
        times = {"memory": 8342, "data_time": round(data, 5), "loss": 2.66, "time": round(seconds, 5)}
        rows.append({"mode": "train", "epoch": epoch, "iter": iteration, "lr": 0.01, **times})
    rows.append({"mode": "val", "epoch": 1, "iter": per_epoch, "lr": 0.01, "top1_acc": 0.1})
    return "".join(json.dumps(row) + "\n" for row in rows)


def mmengine(run: Sequence[Iteration], per_epoch: int, interval: int = 20) -> str:
    """MMAction2 1.x, by mmengine's LogProcessor: the iteration is padded to the width of the epoch's length."""
    lines = []
    for epoch, iteration, seconds, data in windows(run, per_epoch, interval):
        lines.append(
            f"2023/10/12 03:11:07 - mmengine - INFO - Epoch(train)   [{epoch}][{iteration:>{len(str(per_epoch))}}/"
            f"{per_epoch}]  lr: 1.0000e-02  eta: 0:10:00  time: {seconds:.4f}  data_time: {data:.4f}  memory: 8342  "
            "grad_norm: 5.1234  loss: 5.9915  top1_acc: 0.0000"
        )
    lines.append(
        "2023/10/12 03:11:09 - mmengine - INFO - Epoch(val) [1][20/50]    eta: 0:00:01  time: 9.0  data_time: 1"
    )
    return "\n".join(lines) + "\n"


def mmengine_scalars(run: Sequence[Iteration], per_epoch: int, interval: int = 20) -> str:
    """vis_data/scalars.json of it: `iter` counts over the epochs."""
    rows: list[dict[str, object]] = []
    for epoch, iteration, seconds, data in windows(run, per_epoch, interval):
        step = (epoch - 1) * per_epoch + iteration
        times = {"time": seconds, "data_time": data, "epoch": epoch, "iter": step, "memory": 8342, "step": step}
        rows.append({"lr": 0.01, "loss": 5.99, **times})
    rows.append({"acc/top1": 0.1, "data_time": 1.0, "time": 9.0, "step": 1})
    return "".join(json.dumps(row) + "\n" for row in rows)


def pyslowfast(run: Sequence[Iteration], per_epoch: int, period: int = 1, *, of_2020: bool = False) -> str:
    """By log_json_stats: `time_diff` as of 8299c98, or `dt`, `dt_data`."""
    lines = ["[07/08 18:00:00][INFO] train_net.py:  190: Start epoch: 1"]
    for number, one in enumerate(run):
        epoch, iteration = divmod(number, per_epoch)
        stats: dict[str, object] = {"_type": "train_iter", "epoch": f"{epoch + 1}/300", "eta": "1 day, 2:00:00"}
        stats |= {"iter": f"{iteration + 1}/{per_epoch}", "loss": 5.9, "lr": 0.1, "top1_err": 99.0}
        if of_2020:
            stats |= {"time_diff": round(one.seconds, 6), "gpu_mem": "8.15 GB"}
        else:
            stats |= {"dt": round(one.seconds, 5), "dt_data": round(one.data, 5), "gpu_mem": "8.15G"}
        if (iteration + 1) % period == 0:
            lines.append(f"[07/08 18:00:01][INFO] logging.py:  67: json_stats: {json.dumps(stats, sort_keys=True)}")
    lines.append('[07/08 19:00:00][INFO] logging.py:  67: json_stats: {"_type": "val_iter", "time_diff": 9.0}')
    return "\n".join(lines) + '\n[07/08 19:00:00][INFO] logging.py:  67: json_stats: {"_type": "train_it'


def temporal_shift(run: Sequence[Iteration], per_epoch: int, print_freq: int = 1) -> str:
    """By main.py: epochs and iterations count from 0; in brackets the mean of the epoch so far."""
    lines = []
    for number, one in enumerate(run):
        epoch, iteration = divmod(number, per_epoch)
        so_far = run[number - iteration : number + 1]
        seconds, data = (sum(getattr(it, name) for it in so_far) / len(so_far) for name in ("seconds", "data"))
        if iteration % print_freq == 0:
            lines.append(
                f"Epoch: [{epoch}][{iteration}/{per_epoch}], lr: 0.02000\tTime {one.seconds:.3f} ({seconds:.3f})\t"
                f"Data {one.data:.3f} ({data:.3f})\tLoss 5.9915 (5.9915)\tPrec@1 0.000 (0.000)\tPrec@5 0.000 (0.000)"
            )
    lines.append("Test: [0/50]\tTime 9.000 (9.000)\tLoss 5.9000 (5.9000)\tPrec@1 0.000 (0.000)\tPrec@5 0.000 (0.000)")
    return "\n".join(lines) + "\n"
