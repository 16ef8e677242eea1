"""Storage: files by local path or URL, caches, atomic replacement."""

from kinema.storage.atomic import (
    readable_folder,
    recover_folder,
    remove_leftovers,
    replacing,
    replacing_folder,
    unfinished,
    write_csv,
    write_table,
    write_text,
)
from kinema.storage.direct import Direct, Storage, check_protocol, is_url
from kinema.storage.listing import (
    absolute,
    check_no_pipe,
    display_name,
    is_folder,
    join,
    parent,
    readable,
    suffix,
    suggest_sibling,
    walk,
    without_query,
)
from kinema.storage.options import StorageOptions, open_storage
from kinema.storage.outages import check_outage

__all__ = [
    "Direct",
    "Storage",
    "StorageOptions",
    "absolute",
    "check_no_pipe",
    "check_outage",
    "check_protocol",
    "display_name",
    "is_folder",
    "is_url",
    "join",
    "open_storage",
    "parent",
    "readable",
    "readable_folder",
    "recover_folder",
    "remove_leftovers",
    "replacing",
    "replacing_folder",
    "suffix",
    "suggest_sibling",
    "unfinished",
    "walk",
    "without_query",
    "write_csv",
    "write_table",
    "write_text",
]
