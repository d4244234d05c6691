"""The file by which vLLM's processes find each other."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager

PRIVATE_FOLDER = "GROUNDTONE_PRIVATE_FOLDER"
"""Variable with the folder of a run's own Ray, which nobody else can read and which goes with the run; not set on a cluster."""


@contextmanager
def private_rendezvous() -> Generator[None]:
    """Let an engine that is built in the block write its rendezvous into the run's private folder.

    vLLM's processes, also the one of an engine on a single device, exchange their addresses through a file in the folder for
    temporary files. It stays there, readable by all, when an engine is killed, which is how its actor ends."""
    folder, before = os.environ.get(PRIVATE_FOLDER), tempfile.tempdir
    if folder is None:
        yield
        return
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    cache_dir()  # what PyTorch compiles is to outlive the run: this settles its folder, which is one for temporary files too
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before
