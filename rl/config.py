"""YAML to strict dataclasses: unknown keys, wrong types and impossible values are one line that names place and fix."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

C = TypeVar("C")


class ConfigError(ValueError):
    """A user's mistake in a recipe: `place: what is wrong; the fix`."""


def build(cls: type[C], values: Any, place: str = "") -> C:
    """An instance of the dataclass `cls` from plain `values`, checked deeply. Nested dataclasses recurse; a class may
    define `validate(self, place)` for rules between fields. Raises ConfigError."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place}: expected a mapping of {', '.join(_field_names(cls))}; got {values!r}")
    values = typing.cast(Mapping[str, Any], values)
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"{place or cls.__name__}: unknown key '{key}'{_nearest_key(cls, str(key))}")
    hints = typing.get_type_hints(cls)
    built = {key: coerce(hints[key], value, f"{place}.{key}".lstrip(".")) for key, value in values.items()}
    for name, f in known.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in built:
            raise ConfigError(f"{place or cls.__name__}: missing key '{name}'; add `{name}: …`")
    instance = cls(**built)
    validate = getattr(instance, "validate", None)
    if validate is not None:
        validate(place)
    return instance


def coerce(hint: Any, value: Any, place: str) -> Any:
    """`value` as the annotated type, or ConfigError. Numbers widen (1 -> 1.0), nothing else is guessed."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _coerce_union(args, value, place)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{place}: {value!r} is not allowed{did_you_mean(str(value), args)}")
        return value
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, value, place)  # type: ignore[arg-type]
    if origin in (list, tuple):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ConfigError(f"{place}: expected a list; got {value!r}")
        if origin is tuple and Ellipsis not in args and len(args) != len(typing.cast(Sequence[Any], value)):
            raise ConfigError(f"{place}: expected a list of {len(args)}; got {value!r}")
        items = [
            coerce(args[0] if args else Any, v, f"{place}[{i}]")
            for i, v in enumerate(typing.cast(Sequence[Any], value))
        ]
        return items if origin is list else tuple(items)
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{place}: expected a mapping; got {value!r}")
        hint = args[1] if args else Any
        return {k: coerce(hint, v, f"{place}.{k}") for k, v in typing.cast(Mapping[Any, Any], value).items()}
    if hint is float and (number := _number(value)) is not None:
        if not math.isfinite(number):
            raise ConfigError(f"{place}: {value} is not a finite number; give one")
        return number
    if isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool)):
        return value
    raise ConfigError(f"{place}: expected {_type_name(hint)}; got {value!r}")


def _coerce_union(args: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and type(None) in args:
        return None
    options = [a for a in args if a is not type(None)]
    for option in options[:-1]:
        try:
            return coerce(option, value, place)
        except ConfigError:
            continue
    return coerce(options[-1], value, place)


def did_you_mean(word: object, known: typing.Iterable[Any]) -> str:
    """'; did you mean …' when something known is close, else the list of what is known."""
    names = [str(k) for k in known]
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(names))}"


def _nearest_key(cls: type, word: str) -> str:
    """Like `did_you_mean` over the fields of `cls`, and over those of the dataclasses in it: `optimizer.learning_rate`."""
    own = _field_names(cls)
    inner = {
        name: f"{field}.{name}"
        for field, hint in reversed(typing.get_type_hints(cls).items())  # the first of a name wins
        if dataclasses.is_dataclass(hint)
        for name in _field_names(typing.cast(type, hint))
    }
    close = difflib.get_close_matches(word, [*own, *inner], n=1, cutoff=0.6)
    return (
        f"; did you mean '{inner.get(close[0], close[0])}'?"
        if close and close[0] not in own
        else did_you_mean(word, own)
    )


def read_yaml(path: Path) -> Any:
    """The file as OmegaConf has it. Raises ConfigError for one that is no YAML."""
    try:
        return OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f"{path}:{line + 1}" if line is not None else str(path)
        raise ConfigError(f"{where}: not valid YAML ({getattr(error, 'problem', None) or error})") from error


def merged(base: Any, change: Any, place: str) -> Any:
    """`base` with what `change` says in its place, key by key. Raises ConfigError, which `place` and the key begin."""
    _alike(plain(base), plain(change), place)
    try:
        return OmegaConf.merge(base, change)
    except (OmegaConfBaseException, TypeError) as error:  # of what stands behind a `${…}`
        raise ConfigError(f"{place}: {str(error).splitlines()[0]}") from error


def plain(config: Any) -> Any:
    """Mappings and lists of Python, every `${…}` as it is written."""
    return OmegaConf.to_container(config, resolve=False) if OmegaConf.is_config(config) else config


def _alike(base: Any, change: Any, place: str) -> None:
    """Raises ConfigError where one has a list and the other a mapping: OmegaConf cannot merge these."""
    for kind, other, name in ((Mapping, list, "mapping"), (list, Mapping, "list")):
        if isinstance(base, kind) and isinstance(change, other):
            raise ConfigError(f"{place}: expected a {name}, as in what it changes; got {change!r}")
    if isinstance(base, Mapping) and isinstance(change, Mapping):
        own = typing.cast(Mapping[str, Any], base)
        for key, value in typing.cast(Mapping[str, Any], change).items():
            _alike(own.get(key), value, f"{place}{' ' if place.endswith(':') else '.'}{key}")


def resolve(config: Any, place: str) -> dict[str, Any]:
    """A plain dict with every `${…}` interpolation resolved."""
    try:
        return typing.cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(config), resolve=True))
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if getattr(error, "full_key", None) else ""
        raise ConfigError(f"{place}: {key}{str(error).splitlines()[0]}") from error


def _field_names(cls: type) -> list[str]:
    return [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]


def _number(value: Any) -> float | None:
    """Of a number, or of text that is one: YAML 1.1 reads 1e-5 (no dot) as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):  # a whole number may be too large for any float
        return None


def _type_name(hint: Any) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(hint, str(hint))
