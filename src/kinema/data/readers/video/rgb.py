"""Conversion of decoded frames to RGB."""

from fractions import Fraction

import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from kinema.data.readers.reader import Image

_GRAPHS: dict[tuple[object, ...], Graph] = {}
_MOST_GRAPHS = 4  # a graph keeps a few frames' worth of memory


def to_rgb(frame: VideoFrame) -> Image:
    """Return the pixels of a decoded frame as (H, W, 3) uint8, in the orientation in which they are stored.

    A filter graph converts, not `VideoFrame.reformat`: a graph knows where 4:2:0 chroma samples lie, and gives bit for
    bit what torchcodec gives, also for 10 bits and odd heights. Building one takes 0.1 ms, so graphs are kept for later
    frames and videos of the same size and colors. A conversion takes its graph out while it runs: threads never share
    one, and an interrupted conversion leaves none behind that still holds a frame.
    """
    layout = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
    graph = _GRAPHS.pop(layout, None) or _build_graph(frame)
    graph.vpush(frame)
    image = graph.vpull().to_ndarray().astype(np.uint8, copy=False)
    if len(_GRAPHS) >= _MOST_GRAPHS:
        _GRAPHS.clear()
    _GRAPHS[layout] = graph
    return image


def _build_graph(frame: VideoFrame) -> Graph:
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    graph.link_nodes(source, graph.add("format", "rgb24"), graph.add("buffersink")).configure()
    return graph
