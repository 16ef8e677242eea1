"""BSN's TEM and PEM graphs in TensorFlow, from a checkout of code for Python 2 and TensorFlow 1."""

import os
import re
import sys
import types
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # only tf_keras still has tf.layers

import numpy as np
import tensorflow
from protocol import Contender, Request, answer

NOTES = [
    "BSN is written for Python 2 and TensorFlow 1: its source is executed without print statements, on "
    "tensorflow.compat.v1 with tf_keras; its feature files are not read",
]


def build(request: Request) -> Contender:
    """Build the models of the rows tem and pem."""
    tf = tensorflow.compat.v1
    tf.disable_eager_execution()
    code = _load(Path(request.checkout) / f"{request.model.upper()}_train.py", tf)
    session = tf.Session(
        config=tf.ConfigProto(
            intra_op_parallelism_threads=request.threads, inter_op_parallelism_threads=1, allow_soft_placement=True
        )
    )
    feed, step, result = (_tem if request.model == "tem" else _pem)(code, tf, request)
    session.run(tf.global_variables_initializer())
    count = sum(int(np.prod(variable.shape)) for variable in tf.trainable_variables())
    return Contender(
        train=lambda: session.run(step, feed_dict=feed),
        infer=lambda: session.run(result, feed_dict=feed),
        parameters=count,
        notes=NOTES,
        versions={"tensorflow": tensorflow.__version__},
    )


def _load(file: Path, tf: Any) -> dict[str, Any]:
    """Return the names that the module defines, without running it as a program."""
    source = re.sub(r"^(\s*)print .*$", r"\1pass", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sys.modules.update(
        {"tensorflow": tf, **{name: types.ModuleType(name) for name in ("TEM_load_data", "PEM_load_data")}}
    )
    names: dict[str, Any] = {"__name__": file.stem}
    exec(compile(source, str(file), "exec"), names)
    return names


def _tem(code: dict[str, Any], tf: Any, request: Request) -> tuple[dict[Any, Any], Any, Any]:
    batch, channels, length = request.shape
    config = code["Config"]()
    features = tf.placeholder(tf.float32, (batch, length, channels))
    labels = [tf.placeholder(tf.float32, (batch, length)) for _ in range(3)]
    rate = tf.placeholder(tf.float32)
    step, loss, _ = code["TEM_Train"](features, *labels, rate, config)
    random = np.random.default_rng(0)
    feed = {features: random.standard_normal((batch, length, channels)), rate: 0.001}
    feed |= {label: (random.random((batch, length)) > 0.8).astype(np.float32) for label in labels}
    return feed, [step, loss], loss["cost"]


def _pem(code: dict[str, Any], tf: Any, request: Request) -> tuple[dict[Any, Any], Any, Any]:
    batch, candidates, channels = request.shape
    config = code["Config"]()
    features = tf.placeholder(tf.float32, (None, channels))
    overlaps = tf.placeholder(tf.float32, (None,))
    rate = tf.placeholder(tf.float32)
    step, loss = code["PEM_Train"](features, overlaps, rate, config)
    random = np.random.default_rng(0)
    feed = {features: random.standard_normal((batch * candidates, channels)), rate: 0.001}
    feed[overlaps] = random.random(batch * candidates).astype(np.float32)
    return feed, [step, loss], loss["iou_loss"]


answer(build)
