"""The advantages and losses of verl's registries, read from its source: importing verl takes 16 to 25 seconds, which only
the process that computes with it should pay."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from rl import functions
from rl.config import ConfigError, did_you_mean

PREFIX = "verl/"
MODULE = "verl.trainer.ppo.core_algos"

Kind = Literal["advantage", "policy_loss"]

DECORATORS: dict[str, Kind] = {"register_adv_est": "advantage", "register_policy_loss": "policy_loss"}
ENUMERATION = "AdvantageEstimator"
"""Class in verl that names its estimators."""

AVAILABLE = {
    *("token_level_rewards", "response_mask", "index", "values", "gamma", "lam", "config", "old_log_probs"),
    *("log_prob", "old_log_prob", "advantages", "loss_agg_mode"),
}
"""Parameters of verl's functions that the bridge has arguments for."""
UNAVAILABLE = {
    "reward_baselines": "the reward of a greedy answer to each prompt",
    "sum_pi_squared": "the sum of squared probabilities over the vocabulary at each token",
}
"""Parameters that it has none for -> what they are."""
COLUMNS = {"values": "values", "old_log_probs": "old"}
"""Costly columns of a batch, by the parameter that reads them."""

FIXED_MEANS = {"sapo": "sequence_mean", "geo_mean": "sequence_mean"}
"""Losses that take one mean whatever verl's `loss_agg_mode` says -> what it is called here."""
REMARKS = {
    "gdpo": "on the combined score, since a batch holds no scores of parts: GRPO, whitened",
    "dro": "with objective.verl: {dro_beta: …}",
    "bypass_mode": "the engine's logprobs take the place of the old ones",
}


@dataclass(frozen=True, slots=True)
class VerlFunction:
    """One function of verl's registries, as its source shows it."""

    kind: Kind
    name: str
    """Name in the registry, without `verl/`."""
    parameters: tuple[str, ...]
    required: tuple[str, ...]
    """Parameters without a default."""
    summary: str
    """First line of its docstring."""

    @property
    def lacks(self) -> str:
        """Inputs that it needs and a batch here does not hold; empty if it can run."""
        missing = [UNAVAILABLE.get(name, "no such quantity here") for name in self.required if name not in AVAILABLE]
        names = [name for name in self.required if name not in AVAILABLE]
        return "; ".join(f"{name} ({reason})" for name, reason in zip(names, missing, strict=True))

    @property
    def columns(self) -> frozenset[str]:
        """The costly columns of a batch that it reads."""
        return frozenset(COLUMNS[name] for name in self.parameters if name in COLUMNS)


def is_verl(name: str) -> bool:
    """Return whether a recipe's name means a function of verl."""
    return name.startswith(PREFIX)


def find(name: str, kind: Kind, place: str) -> VerlFunction:
    """Return the function that `verl/NAME` means. Raises ConfigError where verl is not installed, has none of that name, or
    it needs what is not there."""
    functions = read_registries(place)[kind]
    short = name.removeprefix(PREFIX)
    if short not in functions:
        raise ConfigError(f"{place}: verl has no {kind} '{short}'{did_you_mean(short, functions)}")
    if lacks := functions[short].lacks:
        raise ConfigError(f"{place}: '{name}' needs {lacks}, which a batch does not hold; choose another {kind}")
    return functions[short]


def read_registries(place: str) -> dict[Kind, dict[str, VerlFunction]]:
    """Return the functions of verl's two registries by kind and name. Raises ConfigError where verl is not installed."""
    path = functions.find_module(MODULE, place, fix="install it with: pip install 'groundtone[verl]'")
    assert path is not None, "verl is written in Python"
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path: Path, changed_at: int) -> dict[Kind, dict[str, VerlFunction]]:
    """Return the functions that the file registers; `changed_at` is its age, which makes a changed file another one."""
    tree = functions.parse_file(path)
    members = _enumeration(tree)
    registries: dict[Kind, dict[str, VerlFunction]] = {"advantage": {}, "policy_loss": {}}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            match decorator:
                case ast.Call(func=ast.Name(id=called), args=[argument, *_]) if called in DECORATORS:
                    kind, name = DECORATORS[called], _registered_name(argument, members)
                    registries[kind][name] = _describe(kind, name, node)
                case _:
                    pass
    return registries


def _enumeration(tree: ast.Module) -> dict[str, str]:
    """Return {member: value} of verl's enumeration of estimators."""
    members: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == ENUMERATION:
            for line in node.body:
                match line:
                    case ast.Assign(targets=[ast.Name(id=member)], value=ast.Constant(value=str(value))):
                        members[member] = value
                    case _:
                        pass
    return members


def _registered_name(argument: ast.expr, members: dict[str, str]) -> str:
    match argument:
        case ast.Constant(value=str(name)):
            return name
        case ast.Attribute(attr=member):
            return members.get(member, member.lower())
        case _:
            return ast.unparse(argument)


def _describe(kind: Kind, name: str, node: ast.FunctionDef) -> VerlFunction:
    parameters = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
    positional = parameters[: len(parameters) - len(node.args.defaults)]
    summary = (ast.get_docstring(node) or "").strip().partition("\n")[0]
    return VerlFunction(kind, name, tuple(parameters), tuple(positional), summary)
