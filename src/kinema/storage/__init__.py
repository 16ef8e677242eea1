"""Bytes from anywhere, and files that are either wholly there or not at all."""

from kinema.storage.atomic import replacing, replacing_folder, settled, write_text

__all__ = ["replacing", "replacing_folder", "settled", "write_text"]
