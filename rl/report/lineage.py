"""Lineage of a run: its stages as a graph, with the number of prompts or samples after each step of a filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.text import Text
from rich.tree import Tree

from rl.data.rows import fail
from rl.json_files import build_record, read_object
from rl.run.provenance import Parent
from rl.run.tracker import Refuse
from rl.stages.registry import filters_rows

DONE_FILE = "done.json"
"""Record of a finished stage, in its folder."""


@dataclass(frozen=True, slots=True)
class Record:
    """The part of a stage's record that its lineage needs; records of earlier versions lack some of the keys."""

    kind: str = ""
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    parents: Sequence[Parent] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A finished stage and its inputs."""

    name: str
    kind: str
    parents: Sequence[Parent] = ()
    funnel: Mapping[str, int] = field(default_factory=dict[str, int])
    """Counts of a stage that filters, in order: number of inputs, number left after each step."""
    work: Mapping[str, int] = field(default_factory=dict[str, int])
    """Amounts that a stage trained on: sequences, tokens, steps."""

    @property
    def model(self) -> Parent | None:
        """The model that it started from, or None."""
        return next((parent for parent in self.parents if parent.kind == "model"), None)

    @property
    def inputs(self) -> list[str]:
        """Return its inputs besides the model, in words: `words (train)`, `difficulty of curate@1`."""
        names: list[str] = []
        for parent in self.parents:
            if parent == self.model:
                continue
            if parent.kind != "data":
                names.append(f"{parent.kind} of {parent.name}")
            else:
                names.append(f"{parent.name} ({parent.split})" if parent.split else parent.name)
        return names

    @property
    def summary(self) -> str:
        """Return its work in words: `asked 80 → sampled 640 → kept 96`, or
        `16,000 sequences, 3,204,118 tokens, 125 steps`."""
        if self.funnel:
            return " → ".join(f"{name} {count:,}" for name, count in self.funnel.items())
        return ", ".join(f"{count:,} {name}" for name, count in self.work.items())


def read_lineage(run_dir: Path, refuse: Refuse = fail) -> list[Node]:
    """Return the finished stages, in order; `refuse` gets a ValueError for a stage whose record cannot be read."""
    nodes: list[Node] = []
    # By number: 10-… comes after 9-….
    for path in sorted((run_dir / "stages").glob(f"[0-9]*-*/{DONE_FILE}"), key=lambda path: _number(path.parent)):
        fix = "delete it, and --resume runs the stage again"
        try:
            record = build_record(Record, read_object(path, fix), path, fix)
        except ValueError as error:
            refuse(error)
            continue
        # A folder is NUMBER-NAME.
        name, kind, counts, parents = path.parent.name.partition("-")[2], record.kind, record.counts, record.parents
        if filters_rows(kind):  # else the counts are sequences, tokens and steps trained on
            nodes.append(Node(name, kind, parents, funnel=counts))
        else:
            nodes.append(Node(name, kind, parents, work=counts))
    return nodes


def find_roots(nodes: Sequence[Node]) -> list[tuple[str, list[Node]]]:
    """Return [(model from outside the run, stages that started from it)]."""
    roots: dict[str, list[Node]] = {}
    names = {node.name for node in nodes}
    for node in nodes:
        # A stage whose own record cannot be read is not among the nodes: what came of it is shown all the same.
        if node.model is None or not node.model.stage or node.model.name not in names:
            # `no model`: a stage that reads data alone.
            roots.setdefault(node.model.name if node.model else "no model", []).append(node)
    return list(roots.items())


def find_children(nodes: Sequence[Node], name: str) -> list[Node]:
    """Return the stages that started from the model of the stage `name`."""
    return [node for node in nodes if node.model and node.model.stage and node.model.name == name]


def render_tree(nodes: Sequence[Node]) -> Tree:
    """Return a tree for a terminal: each stage under the stage whose model it started from, with its other inputs and
    its counts."""

    def add(branch: Tree, node: Node) -> None:
        kind = "" if node.kind in node.name else f"  {node.kind}"  # a stage without a name of its own is named by kind
        label = Text.assemble((node.name, "bold"), (kind, "dim"))
        if node.inputs:
            label.append(f"  ← {', '.join(node.inputs)}", "cyan")
        if node.summary:
            label.append(f"\n{node.summary}", "dim")
        twig = branch.add(label)
        for child in find_children(nodes, node.name):
            add(twig, child)

    tree = Tree(Text("lineage"), hide_root=True)
    for root, children in find_roots(nodes):
        branch = tree.add(Text(f"model: {root}"))
        for child in children:
            add(branch, child)
    return tree


def _number(folder: Path) -> int:
    return int(folder.name.partition("-")[0])
