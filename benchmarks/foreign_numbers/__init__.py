"""Record the outputs of other tools' own code, for the tests of `kinema convert`.

Builds a tool's networks from a checkout, fills them with weights derived from the names of the keys, and writes their
keys, configurations and outputs to `tests/models/foreign_numbers/TOOL.json`. Networks are narrow and frames small;
depth, strides, padding and everything else are those of the tool's configuration files.

    python -m benchmarks.foreign_numbers pyslowfast SlowFast pytorchvideo
    python -m benchmarks.foreign_numbers mmaction2 mmaction2        # 1.x, with mmengine and mmcv-lite
    python -m benchmarks.foreign_numbers mmaction2_0x mmaction2 mmcv  # branch 0.x, and mmcv's branch 1.x
    python -m benchmarks.foreign_numbers tsm temporal-shift-module
    python -m benchmarks.foreign_numbers torchvision

Run it from the root of this repository with a Python that has torch, torchvision and the imports of the tool (fvcore,
iopath, mmengine, mmcv-lite, …). Imports that are not needed here (detectron2) are replaced by stubs.
"""
