"""What came of what: the stages of a run as a graph, and how many were left after each step of a funnel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.text import Text
from rich.tree import Tree

from rl.run.provenance import Parent

DONE = "done.json"
FILTERS = ("curate", "distill", "pairs")
"""Kinds of stages whose counts are a funnel; those of others say how much was learned from."""


@dataclass(frozen=True, slots=True)
class Node:
    """A finished stage."""

    name: str
    kind: str
    parents: Sequence[Parent] = ()
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Of a funnel, in order: how many came in, how many were left after each step."""
    work: Mapping[str, int] = field(default_factory=dict[str, int])
    """How much a stage that trains has learned from: sequences, tokens, steps."""
    makes: Sequence[str] = ()
    """Kinds of its artifacts."""

    @property
    def model(self) -> Parent | None:
        """What it started from."""
        return next((parent for parent in self.parents if parent.kind == "model"), None)

    @property
    def inputs(self) -> list[str]:
        """What else it read, in words: `words (train)`, `difficulty of curate@1`."""
        others = [parent for parent in self.parents if parent != self.model]
        return [
            f"{p.kind} of {p.name}" if p.kind != "data" else p.name + (f" ({p.split})" if p.split else "")
            for p in others
        ]

    @property
    def funnel(self) -> str:
        """`asked 80 → sampled 640 → correct 412 → kept 96`."""
        return " → ".join(f"{name} {count:,}" for name, count in self.counts.items())

    @property
    def says(self) -> str:
        """Its funnel, or `16,000 sequences, 3,204,118 tokens, 125 steps`."""
        return self.funnel or ", ".join(f"{count:,} {name}" for name, count in self.work.items())


def read_lineage(run_dir: Path) -> list[Node]:
    """The finished stages, in order. Raises ValueError for a stage whose record cannot be read."""
    nodes: list[Node] = []
    for path in sorted((run_dir / "stages").glob(f"[0-9]*-*/{DONE}"), key=lambda path: _number(path.parent)):
        try:
            done: dict[str, Any] = json.loads(path.read_text())
            parents = [Parent(**parent) for parent in done.get("parents", ())]
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}; delete it, and --resume runs the stage again") from error
        kind, counts, made = done.get("kind", ""), done.get("counts", {}), tuple(done.get("artifacts", ()))
        told = (counts, {}) if kind in FILTERS else ({}, counts)
        nodes.append(Node(path.parent.name.partition("-")[2], kind, parents, *told, made))
    return nodes


def forest(nodes: Sequence[Node]) -> list[tuple[str, list[Node]]]:
    """[(a model that no stage made, the stages that started from it)]."""
    roots: dict[str, list[Node]] = {}
    for node in nodes:
        if node.model is None or not node.model.stage:
            roots.setdefault(node.model.name if node.model else "no model", []).append(node)
    return list(roots.items())


def children(nodes: Sequence[Node], name: str) -> list[Node]:
    """The stages that started from the model of the stage `name`."""
    return [node for node in nodes if node.model and node.model.stage and node.model.name == name]


def tree(nodes: Sequence[Node]) -> Tree:
    """For a terminal: each stage under the stage whose model it started from, with what else it read and its funnel."""

    def grow(branch: Tree, node: Node) -> None:
        says = Text.assemble((node.name, "bold"), (f"  {node.kind}" if node.kind not in node.name else "", "dim"))
        if node.inputs:
            says.append(f"  ← {', '.join(node.inputs)}", "cyan")
        if node.says:
            says.append(f"\n{node.says}", "dim")
        twig = branch.add(says)
        for child in children(nodes, node.name):
            grow(twig, child)

    drawn = Tree(Text("what came of what"), hide_root=True)
    for root, first in forest(nodes):
        branch = drawn.add(Text(f"model: {root}"))
        for node in first:
            grow(branch, node)
    return drawn


def _number(folder: Path) -> int:
    return int(folder.name.partition("-")[0])
