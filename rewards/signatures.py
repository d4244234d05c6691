"""Recognises whose form a reward function has, by the names of its parameters: ours, verl's, TRL's, …

Read from source (`of_node`) where `rl check` must not execute it, and from the object (`of_callable`) once it is imported.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rl.config import ConfigError, did_you_mean

Form = Literal["ours", "ours_batch", "verl", "verl_batch", "trl", "openrlhf", "single"]
"""Library whose form a reward function has. `single`: TRL's names in the singular, one completion a call, as Prime's verifiers have it."""

PASSED: Mapping[Form, tuple[str, ...]] = {
    "ours": ("prompt", "rollout"),
    "ours_batch": ("prompts", "rollouts"),
    "verl": ("data_source", "solution_str", "ground_truth", "extra_info"),
    "verl_batch": ("data_sources", "solution_strs", "ground_truths", "extra_infos"),
    "trl": ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"),
    "openrlhf": ("queries", "prompts", "labels"),
    "single": ("prompt", "completion", "state"),
}
"""Arguments that every call passes; in the forms `trl` and `single` the prompt's columns follow."""
TAKES_COLUMNS: tuple[Form, ...] = ("trl", "single")
METHODS = ("__call__", "compute_score", "verify", "verify_batch")
"""Methods of an object that may be its reward function, the likeliest first."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a function, without `self`."""

    positional: tuple[str, ...]
    """Parameters that can be passed by position, in order."""
    keyword_only: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    """Parameters of both kinds that have no default."""
    has_args: bool = False
    """True if the function takes `*args`."""
    has_kwargs: bool = False
    """True if the function takes `**kwargs`."""

    @property
    def names(self) -> tuple[str, ...]:
        """All named parameters."""
        return (*self.positional, *self.keyword_only)


def of_node(node: ast.FunctionDef | ast.AsyncFunctionDef, is_method: bool = False) -> Signature:
    """Return the signature of a function's source."""
    arguments = node.args
    positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    required = positional[: len(positional) - len(arguments.defaults)]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    required += [a.arg for a, default in keywords if default is None]
    skipped = 1 if is_method and positional else 0
    return Signature(
        tuple(positional[skipped:]),
        tuple(a.arg for a in arguments.kwonlyargs),
        tuple(name for name in required if name not in positional[:skipped]),
        arguments.vararg is not None,
        arguments.kwarg is not None,
    )


def of_callable(function: Callable[..., object]) -> Signature:
    """Return the signature of a function, a `functools.partial` or a bound method; one that cannot be read takes anything."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return Signature((), has_args=True, has_kwargs=True)
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return Signature(
        tuple(p.name for p in named if p.kind is not p.KEYWORD_ONLY),
        tuple(p.name for p in named if p.kind is p.KEYWORD_ONLY),
        tuple(p.name for p in named if p.default is p.empty),
        any(p.kind is p.VAR_POSITIONAL for p in parameters),
        any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def form_of(signature: Signature, name: str = "", texts: Sequence[str] = ()) -> Form:
    """Return whose form a function has. Where it takes `**kwargs` alone, its name and the `texts` in its source tell."""
    names = {*signature.names}
    if not names and signature.has_kwargs:  # verl and TRL pass everything by name
        names = {*texts}
        if "completions" not in names and (name.startswith("compute_score") or not signature.has_args):
            names.add("solution_str")
    if "solution_strs" in names:
        return "verl_batch"
    if "solution_str" in names or {"data_source", "ground_truth"} <= names:
        return "verl"
    if "completions" in names:
        return "trl"
    if {"queries", "prompts"} <= names:
        return "openrlhf"
    if {"prompts", "rollouts"} <= names:
        return "ours_batch"
    return "single" if "completion" in names and "rollout" not in names else "ours"


def check_args(signature: Signature, form: Form, args: Mapping[str, object], name: str, place: str) -> None:
    """Raise ConfigError where a foreign function does not take the recipe's `args`, or needs one that nobody passes."""
    passed = PASSED[form]
    own_names = [parameter for parameter in signature.names if parameter not in passed]
    for key in args:
        if key in passed:
            raise ConfigError(f"{place}: '{key}' is what the function judges; remove it")
        if key not in own_names and not signature.has_kwargs:
            hint = did_you_mean(key, own_names) if own_names else "; it takes none"
            raise ConfigError(f"{place}: unknown key '{key}'{hint}")
    if form in TAKES_COLUMNS:
        return  # the others are columns of the data
    for key in signature.required:
        if key not in passed and key not in args:
            raise ConfigError(f"{place}: missing key '{key}' of {name}; add `{key}: …`")


def method_name(methods: Sequence[str]) -> str | None:
    """Return which of an object's methods is its reward function; None without any."""
    return next((name for name in METHODS if name in methods), None)
