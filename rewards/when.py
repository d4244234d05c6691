"""Configures what all verifiers of a reward share, parts and second opinions: which verifier, and on which prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from rl.config import ConfigError, did_you_mean

KINDS = ("text", "audio")
"""The kinds of prompts: without an audio clip, and with one."""


@dataclass(frozen=True, slots=True)
class VerifierConfig:
    """A verifier with its arguments, and the prompts that it judges."""

    verifier: str
    """An in-tree name (`rl verifiers list`), `pkg.mod:fn` or `file.py:fn`."""
    name: str | None = None
    """The name under which it is logged."""
    args: dict[str, Any] = field(
        default_factory=dict[str, Any], kw_only=True
    )  # Any: the verifier's signature types them
    """Keyword arguments of the verifier."""
    when: dict[str, Any] | None = field(default=None, kw_only=True)  # Any: `check_when` types the values, key by key
    """The prompts that it judges, all by default: `{source: x}`, `{source: [x, y]}`, `{audio: true}`, `{text: true}`, or
    `{field: {task: pitch}}` (a column of the data that the recipe hands on, with a value or a list of values)."""


def check_when(when: Mapping[str, object], place: str) -> None:
    """Raise ConfigError for a key that does not exist or a value of the wrong kind."""
    keys = ("source", *KINDS, "field")
    for key, value in when.items():
        if key not in keys:
            raise ConfigError(f"{place}: unknown key '{key}'{did_you_mean(key, keys)}")
        if key in KINDS and not isinstance(value, bool):
            raise ConfigError(f"{place}.{key}: expected true or false; got {value!r}")
        if key == "source" and not (values_of(value) and all(isinstance(name, str) for name in values_of(value))):
            raise ConfigError(f"{place}.source: expected a source's name or a list of names; got {value!r}")
        if key == "field" and not (isinstance(value, dict) and value):
            raise ConfigError(
                f"{place}.field: expected fields and their values, such as {{task: pitch}}; got {value!r}"
            )


def values_of(one_or_many: object) -> list[object]:
    """Return the values that a key names: a list of them, or a single one."""
    return cast(list[object], one_or_many) if isinstance(one_or_many, list) else [one_or_many]


def values_differ(when: Mapping[str, object], other_when: Mapping[str, object], key: str) -> bool:
    """Return whether both name values for `key` and have none in common."""
    if key not in when or key not in other_when:
        return False  # one without the key judges prompts of every value
    return not any(value in values_of(other_when[key]) for value in values_of(when[key]))
