"""The run's files on the nodes of a cluster: on storage that they share, or brought to and from the run's own node."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rl.workers.nodes import Node
from rollouts.remote import fetch

BUCKET = 64 << 20
"""Most bytes of a file that go over the network at once."""

CLEAN_TIMEOUT_S = 60.0
"""Longest time that the end of a cluster waits for its nodes to remove what was brought to them."""

SHARE_FIX = "put it on storage that the nodes share, or under the same path of each"
"""Fix that errors name for what a node lacks."""

MARK = ".shared-"
"""Beginning of the names of files by which nodes find out whether they share the run directory."""


@dataclass(frozen=True)
class RunSite:
    """The run that actors work for."""

    folder: Path | None = None
    """Run directory, in which they write; None: nowhere that lasts."""
    paths: Mapping[str, str] = field(default_factory=dict[str, str])
    """Paths that they read, each by its place in the recipe."""
    say: Callable[[str], None] = lambda _: None
    """Function that prints a line for the user."""


@dataclass(frozen=True, slots=True)
class View:
    """View that a node has of the storage of the run's own node."""

    sees_mark: bool
    """True if the node finds the file that the run's node has just written into the run directory."""
    problem: str
    """Reason why the node cannot write into the run directory; "" if it can."""
    absent: tuple[str, ...]
    """Paths that the node does not find."""


class Storage:
    """Storage that all nodes share: nothing needs to be brought anywhere."""

    def deliver(self, *paths: str | Path) -> None:
        """Bring files or folders of the run directory to the other nodes, before they are read there."""

    @contextmanager
    def collecting(self, folder: Path) -> Generator[None]:
        """Bring what the other nodes write into `folder` in the block to the run's node."""
        yield

    def close(self) -> None:
        """Remove what was brought to the nodes."""


class Courier:
    """Reads and writes files on its node for the run's node; an actor."""

    def __init__(self) -> None:
        self.written, self.folders = set[str](), set[str]()

    def list(self, folder: str) -> dict[str, tuple[int, int]]:
        """Return {path: (bytes, time of change in ns)} of a file, or of all files below a folder."""
        return list_files(Path(folder))

    def make(self, folder: str) -> None:
        """Create a folder of the run's, into which ranks write."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.folders.add(folder)

    def read(self, file: str, offset: int) -> bytes:
        """Return a bucket of a file."""
        with open(file, "rb") as content:
            content.seek(offset)
            return content.read(BUCKET)

    def write(self, file: str, offset: int, content: bytes, changed: int) -> None:
        """Write a bucket of a file, which is then of that time."""
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        # The first bucket empties the file: an earlier one may have been longer.
        with open(file, "r+b" if offset else "wb") as target:
            target.seek(offset)
            target.write(content)
        # The sender's time: by it the next `deliver` finds the file unchanged.
        os.utime(file, ns=(changed, changed))
        self.written.add(file)

    def remove(self, folder: str) -> None:
        """Remove a folder whose content the run's node has."""
        shutil.rmtree(folder, ignore_errors=True)

    def clean(self, run_dir: str) -> None:
        """Remove what was written here, what is left of folders into which ranks wrote, and the folders of the run
        directory that are empty then."""
        for folder in self.folders:  # one is left where a rank has failed
            self.remove(folder)
        files = [*map(Path, self.written), *Path(run_dir).glob(f"{MARK}*")]
        for file in files:
            file.unlink(missing_ok=True)
        paths = [*files, *map(Path, self.folders)]
        parents = {parent for path in paths for parent in path.parents if parent.is_relative_to(run_dir)}
        for parent in sorted(parents, reverse=True):  # inner ones first
            with suppress(OSError):  # it holds something of somebody else's
                parent.rmdir()


class NodeStorage(Storage):
    """Storage of nodes that do not share the run directory: each has its own under the same path."""

    def __init__(self, nodes: Sequence[Node], run_dir: Path) -> None:
        self.nodes, self.run_dir = nodes, run_dir
        actor: Any = ray.remote(Courier)
        # Without CPUs, all of which the run's own bundles may hold; and on its node or nowhere.
        self.couriers: list[Any] = [
            actor.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote()
            for node in nodes
        ]

    def deliver(self, *paths: str | Path) -> None:
        """Bring what the nodes do not have yet, in buckets. Raises ValueError, with the node, where one lacks a path
        outside the run directory."""
        for path in filter(None, map(str, paths)):
            here = list_files(Path(path))
            views = fetch([courier.list.remote(path) for courier in self.couriers])
            for node, courier, there in zip(self.nodes, self.couriers, views, strict=True):
                # Outside the run directory a node has files of its own, its user's, perhaps of another time: they stay.
                if not _lies_in(path, self.run_dir):
                    if here and not there:  # a name on the hub is no path on any node
                        raise ValueError(f"{path}: node {node.host} lacks it; {SHARE_FIX}")
                    continue
                for file, (size, changed) in here.items():
                    if there.get(file) != (size, changed):
                        self._send(courier, file, size, changed)

    def _send(self, courier: Any, file: str, size: int, changed: int) -> None:
        with open(file, "rb") as content:
            for offset in range(0, max(size, 1), BUCKET):  # once for an empty file too, which must be there
                fetch(courier.write.remote(file, offset, content.read(BUCKET), changed))

    @contextmanager
    def collecting(self, folder: Path) -> Generator[None]:
        """Create the folder on all nodes; after the block bring what they wrote, in buckets, and remove it there. Where
        the block fails it is removed by `close`: ranks may still write there."""
        fetch([courier.make.remote(str(folder)) for courier in self.couriers])
        yield
        for courier in self.couriers:
            for file, (size, _) in fetch(courier.list.remote(str(folder))).items():
                Path(file).parent.mkdir(parents=True, exist_ok=True)
                with open(file, "wb") as target:
                    for offset in range(0, size, BUCKET):
                        target.write(cast("bytes", fetch(courier.read.remote(file, offset))))  # Ray leaves it untyped
            fetch(courier.remove.remote(str(folder)))

    def close(self) -> None:
        """Remove what was brought to the nodes. One that does not answer within `CLEAN_TIMEOUT_S` is left as it is."""
        calls = [courier.clean.remote(str(self.run_dir)) for courier in self.couriers]
        ended, _ = cast("tuple[list[Any], list[Any]]", ray.wait(calls, num_returns=len(calls), timeout=CLEAN_TIMEOUT_S))
        for call in ended:
            # A node that is gone has nothing to clean, and what cannot be removed must not hide how the run has ended.
            with suppress(RayError, OSError):
                fetch(call)


def list_files(path: Path) -> dict[str, tuple[int, int]]:
    """Return {path: (bytes, time of change in ns)} of a file, or of all files below a folder."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


def _lies_in(path: str, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def find_storage(nodes: Sequence[Node], site: RunSite) -> Storage:
    """Return how files get to and from `nodes`. Raises ValueError, with the node, where one can neither see the run directory
    nor have one of its own, or lacks a path."""
    run_dir = site.folder
    here = str(ray.get_runtime_context().get_node_id())
    # `nodes` has one entry for each bundle.
    others = [node for node in dict.fromkeys(nodes) if node.id != here]
    if run_dir is None or not others:
        return Storage()
    mark = run_dir / f"{MARK}{secrets.token_hex(8)}"
    mark.touch()
    try:
        look = ray.remote(look_at)
        # What lies in the run directory is brought before it is read (`deliver`); a node must have the rest itself.
        outside = {place: path for place, path in site.paths.items() if not _lies_in(path, run_dir)}
        views = fetch(
            [
                cast("Any", look)
                .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False))
                .remote(str(mark), sorted({*outside.values()}))
                for node in others
            ]
        )
        # Seen from both sides: a node whose file appears here shares the storage, whatever its cache says of ours.
        answers = [Path(f"{mark}-{node.id}").exists() for node in others]
    finally:
        for file in run_dir.glob(f"{mark.name}*"):
            file.unlink(missing_ok=True)
    apart: list[Node] = []
    for node, view, answered in zip(others, views, answers, strict=True):
        if problem := describe_view(node, view, run_dir, outside):
            raise ValueError(problem)
        if not (view.sees_mark or answered):
            apart.append(node)
    if not apart:
        return Storage()
    hosts = ", ".join(dict.fromkeys(node.host for node in apart))
    site.say(f"{hosts} do{'es' if len(apart) == 1 else ''} not share {run_dir}: what is written there is brought here")
    return NodeStorage(apart, run_dir)


def describe_view(node: Node, view: View, run_dir: Path, paths: Mapping[str, str]) -> str | None:
    """Return one line on what a node cannot do that a run needs; None where it can all."""
    if view.problem and view.sees_mark:
        return f"--out: node {node.host} sees {run_dir} and cannot write there ({view.problem}); mount it for writing, or name another"
    if view.problem:
        return (
            f"--out: node {node.host} neither shares {run_dir} nor can have one of its own there ({view.problem}); name a path on "
            "storage that the nodes share"
        )
    lacking = [f"{place} ({path})" for place, path in paths.items() if path in view.absent]
    if lacking:
        return f"{lacking[0].partition(' ')[0]}: node {node.host} lacks {', '.join(lacking)}; {SHARE_FIX}"
    return None


def look_at(mark: str, paths: Sequence[str]) -> View:
    """Return what this node sees, and leave a file beside the mark."""
    sees_mark, answer = os.path.exists(mark), f"{mark}-{ray.get_runtime_context().get_node_id()}"
    absent = tuple(path for path in paths if not os.path.exists(path))
    try:
        os.makedirs(os.path.dirname(mark), exist_ok=True)
        Path(answer).touch()
    except OSError as error:
        return View(sees_mark, error.strerror or str(error), absent)
    return View(sees_mark, "", absent)
