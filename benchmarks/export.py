"""Times of exported networks beside PyTorch on the CPU: python -m benchmarks.export [RECIPE …]

Random weights, one clip of the recipe's test views. PyTorch, onnxruntime and the program of torch.export take turns in
one process, with the same number of threads; the figures are medians.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from kinema.deploy.export import export
from kinema.deploy.options import ExportOptions
from kinema.recipes import config_of
from kinema.runtime.device import RuntimeOptions, to_device
from kinema.weights.exported import ExportedNetwork
from kinema.weights.model_files import load_network, save_model

RECIPES = [
    "tsn_r50_video_1x1x8_100e_kinetics400_rgb",
    "tsm_r50_video_1x1x8_50e_kinetics400_rgb",
    "tsm_mobilenetv2_8x8_kinetics400",
    "slowonly_r50_video_4x16x1_256e_kinetics400_rgb",
    "x3d_s_13x6_kinetics400",
    "bmn_400x100_2x8_9e_activitynet_feature",
]


def measure(recipe: str, *, rounds: int) -> list[str]:
    """Return a row of the table."""
    config = config_of(recipe)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        folder.mkdir()
        classes = tuple(map(str, range(getattr(config.model, "num_classes", 0))))
        description = config.describe(classes)
        save_model(folder, config.model.build().state_dict(), description)
        networks = {"PyTorch": to_device(load_network(folder, description), torch.device("cpu"), RuntimeOptions())}
        errors = {}
        for name, suffix in (("onnx", ".onnx"), ("torch", ".pt2")):
            began = time.perf_counter()
            exported = export(folder, ExportOptions(format=name, output=Path(temporary) / f"x{suffix}"))
            errors[name] = exported.agreement.max_error, time.perf_counter() - began, exported.file.stat().st_size
            networks[name] = ExportedNetwork(exported.file)
        inputs = [tensor[:1] for tensor in config.task.export_inputs(description).values()]
        times = {name: [] for name in networks}
        with torch.inference_mode():
            for number in range(rounds + 1):
                for name, network in networks.items():
                    began = time.perf_counter()
                    network(*inputs)
                    if number:
                        times[name].append(time.perf_counter() - began)
    error, seconds, size = errors["onnx"]
    cells = [f"{1e3 * median(times[name]):.0f}" for name in networks]
    return [recipe, *cells, f"{error:.0e}", f"{errors['torch'][0]:.0e}", f"{seconds:.0f}", f"{size / 2**20:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        "| recipe | PyTorch, ms | onnxruntime, ms | torch.export, ms | ONNX: error | torch: error | export, s | MiB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for recipe in options.recipes:
        print(f"| {' | '.join(measure(recipe, rounds=options.rounds))} |", flush=True)


if __name__ == "__main__":
    main()
