"""Every key of a recipe, from the dataclasses that a recipe is read into: `python -m rl.recipe.reference` prints the page
docs/recipe_reference.md.

A key counts once for each dataclass that declares it: `optimizer.learning_rate` is one key although several kinds of
stages have an optimizer, and so is `StageConfig.data`, which all of them extend.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union

from rl.algorithms.objective import Objective
from rl.algorithms.presets import ALGORITHMS
from rl.recipe.header import Header
from rl.recipe.repeat import Repeat
from rl.stages.registry import STAGES

INTRODUCTION = """# Recipe reference

Every key of a recipe with its type, default and meaning. `rl recipes --reference` writes this page from the dataclasses
that a recipe is read into: edit those, not this page. [stages.md](stages.md) explains what the stages do,
`rl check RECIPE` shows what a recipe amounts to, and `recipe.yaml` in a run's directory holds every key with its value.

Beside the keys below, a recipe has `stages:`, the list of what runs, and may have `extends:`, the recipe that it changes.
Every stage may have a `name:` (by default its kind), by which other stages, overrides (`NAME.key=value`) and recipes that
extend this one refer to it.
"""
TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class Section:
    """One dataclass of the recipe, and every place where a recipe may have it."""

    config: type
    places: Sequence[str]

    @property
    def title(self) -> str:
        """Prefix of the section's keys: its place, or the name that several places of equal rank share."""
        is_shared = len(self.places) > 1 and "." in self.places[0]
        return self.places[0].rpartition(".")[2] if is_shared else self.places[0]

    def key(self, name: str) -> str:
        """Return the whole name of one of the section's keys."""
        return f"{self.title}.{name}".lstrip(".")

    def meaning(self, name: str) -> str:
        """Return what one of the section's keys means: its docstring in the dataclass."""
        return " ".join(_docstrings(self.config).get(name, "").split())


def config_of_stage(kind: str) -> type:
    """Return the dataclass with the settings of a kind of stage."""
    return STAGES[kind].Config


def keys() -> list[str]:
    """Return every key once, where it is declared: `model.path`, `rlvr.steps`, `optimizer.learning_rate`, and of those that
    several kinds of stages share `StageConfig.data`."""
    names: dict[str, None] = {}  # an ordered set
    for section in sections():
        for field in dataclasses.fields(section.config):
            # The most basic class that has it: a stage that only changes the default of a shared key declares none.
            owner = [cls for cls in section.config.__mro__ if field.name in inspect.get_annotations(cls)][-1]
            names[section.key(field.name) if owner is section.config else f"{owner.__name__}.{field.name}"] = None
    return list(names)


def sections() -> list[Section]:
    """Return the sections in the order of the page: the recipe's own keys, what stages share, each kind of stage."""
    roots: list[tuple[str, type]] = [
        ("", Header),
        *((kind, config_of_stage(kind)) for kind in STAGES),
        ("repeat", Repeat),
    ]
    # In its dataclass `objective` is a mapping, since a recipe gives only what differs from its algorithm's settings.
    roots.append(("rlvr.objective", Objective))
    # The roots come first: evaluations inside rlvr are read into the settings of `evaluate`, whose place is that stage.
    places = {config: [place] for place, config in roots}

    def visit(config: type, place: str) -> None:
        for name, hint in typing.get_type_hints(config).items():
            for inner, item in _dataclasses_in(hint):
                inner_place = f"{place}.{name}{item}".lstrip(".")
                # A dataclass is described once, where it is met first: of further places only the name is kept.
                if inner in places:
                    places[inner].append(inner_place)
                else:
                    places[inner] = [inner_place]
                    visit(inner, inner_place)

    for place, config in roots:
        visit(config, place)
    header_names = ["", *(field.name for field in dataclasses.fields(Header))]
    # A title that is neither a key of the recipe nor a stage is that of settings which several places share: they stand
    # between the two.
    order = {name: rank for rank, name in enumerate([*header_names, "(shared)", *STAGES, "repeat"])}

    def rank(section: Section) -> int:
        return order.get(section.title.partition(".")[0], order["(shared)"])

    return sorted((Section(config, found_at) for config, found_at in places.items()), key=rank)


def render() -> str:
    """Return the page as Markdown."""
    titles = {section.config: section.title for section in sections()}
    return "\n".join(
        [INTRODUCTION, *(_render_section(section, titles) for section in sections()), _render_algorithms()]
    )


def _render_section(section: Section, titles: Mapping[type, str]) -> str:
    lines = [f"## {section.title or 'The recipe'}", ""]
    if len(section.places) > 1:
        lines += [f"Used as {', '.join(f'`{place}`' for place in section.places)}.", ""]
    if summary := _summary(section.config):
        lines += [summary, ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    hints = typing.get_type_hints(section.config)
    for field in dataclasses.fields(section.config):
        cells = [f"`{field.name}`", _type_name(hints[field.name], titles), _default(field), section.meaning(field.name)]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, ""])


def _render_algorithms() -> str:
    """Return the table of what each algorithm sets in `rlvr.objective`."""
    lines = ["## Algorithms", "", "What `rlvr.algorithm` sets in `rlvr.objective`, beside its defaults.", ""]
    lines += ["| algorithm | sets |", "|---|---|"]
    for name, changes in ALGORITHMS.items():
        lines.append(f"| `{name}` | {', '.join(f'`{key}: {_yaml(value)}`' for key, value in changes.items())} |")
    return "\n".join([*lines, ""])


def _dataclasses_in(hint: object, item: str = "") -> Iterator[tuple[type, str]]:
    """Yield (dataclass, how a place names one of several) for each dataclass that a type holds."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint, item
    items: dict[object, str] = {dict: ".NAME", list: "[i]"}
    item = items.get(typing.get_origin(hint), item)
    for inner in typing.get_args(hint):
        yield from _dataclasses_in(inner, item)


def _type_name(hint: object, titles: Mapping[type, str]) -> str:
    """Return a type in the words of someone who writes YAML."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        simple_first = sorted(args, key=lambda arg: (arg is type(None), typing.get_origin(arg) is dict))
        return " or ".join(_type_name(arg, titles) for arg in simple_first)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin is tuple:
        return f"`[{', '.join(_type_name(arg, titles) for arg in args)}]`"
    if origin in (list, dict):
        kind = "list" if origin is list else "mapping"
        item = _type_name(args[-1], titles)
        plural = f"{item}s" if args[-1] in TYPES else item
        return kind if args[-1] is Any else f"{kind} of {plural}"
    if isinstance(hint, type) and hint in titles:
        return f"[{titles[hint]}](#{re.sub('[^a-z_]', '', titles[hint].lower())})"  # as GitHub names a heading
    return TYPES.get(hint, "anything")  # type: ignore[call-overload]


def _default(field: dataclasses.Field[object]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{_yaml(field.default)}`"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{_yaml(field.default_factory())}`"
    return "required"


def _yaml(value: object) -> str:
    """Return a value as YAML on one line; of a dataclass only what differs from its own defaults."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = type(value)()
        names = [field.name for field in dataclasses.fields(value)]
        value = {name: getattr(value, name) for name in names if getattr(value, name) != getattr(plain, name)}
    if isinstance(value, Mapping):
        pairs = typing.cast(Mapping[str, object], value).items()
        return f"{{{', '.join(f'{key}: {_yaml(inner)}' for key, inner in pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_yaml(inner) for inner in typing.cast(Sequence[object], value))}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return re.sub(r"e([+-])0*", r"e\1", f"{value:g}")  # 1e-06 is 1e-6 in a recipe
    return str(value)


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[module]))


def _docstrings(config: type) -> dict[str, str]:
    """Return the docstrings of a dataclass's fields, which Python itself forgets, also of those it inherits."""
    docstrings: dict[str, str] = {}
    for cls in reversed(config.__mro__):
        if not dataclasses.is_dataclass(cls):
            continue
        (node,) = (n for n in _tree(cls.__module__).body if isinstance(n, ast.ClassDef) and n.name == cls.__name__)
        for statement, after in zip(node.body, node.body[1:], strict=False):
            if not (isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr)):
                continue
            if isinstance(after.value, ast.Constant):
                docstrings[ast.unparse(statement.target)] = str(after.value.value)
    return docstrings


def _summary(config: type) -> str:
    """Return the first paragraph of the dataclass's docstring; empty where Python has put the signature in its place."""
    text = inspect.cleandoc(config.__doc__ or "").partition("\n\n")[0]
    return "" if text.startswith(f"{config.__name__}(") else " ".join(text.split())


if __name__ == "__main__":
    sys.stdout.write(render())
