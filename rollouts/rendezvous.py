"""Keeps the file by which vLLM's processes find each other within the run's private folder."""

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

    vLLM's processes, even the only one of an engine on a single device, exchange their addresses through a file among
    the temporary files. An engine's actor ends by being killed, and then the file would stay there, readable by all."""
    folder, before = os.environ.get(PRIVATE_FOLDER), tempfile.tempdir
    if folder is None:
        yield
        return
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    # PyTorch's compiled kernels must outlive the run. Their folder lies among the temporary files too, and is chosen at
    # the first call: so call it before the folder changes.
    cache_dir()
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before
