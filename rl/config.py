"""Builds strict dataclasses from YAML: unknown keys, wrong types and impossible values are one line with place and
fix."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc
from yaml import YAMLError

from rl import redaction
from rl.nearness import nearest
from rl.yaml_scalars import find_ambiguous

C = TypeVar("C")
HIGHEST_TEMPERATURE = 2.0
"""Highest temperature at which engines sample: vLLM refuses higher ones."""
Values = dict[str, Any]
"""A mapping of a recipe as YAML gives it, before it is read into dataclasses."""


def _read_variable(name: str, *default: str | None) -> str | None:
    """Return what `${oc.env:name}` or `${oc.env:name,default}` stands for; what comes from the environment is remembered as a
    secret, whatever key it stands under."""
    value = oc.env(name, *default)
    if name in os.environ:
        redaction.remember(os.environ[name], f"${{oc.env:{name}}}")
    return value


OmegaConf.register_resolver("oc.env", _read_variable, replace=True)


class ConfigError(ValueError):
    """A user's mistake in a recipe: `place: what is wrong; the fix`."""


class UnknownKey(ConfigError):
    """A key that a recipe has and its dataclass does not."""

    def __init__(self, place: str, key: str, value: object, hint: str, owner: str = "") -> None:
        """Build the message; `owner` stands for the place in it where the place is the top of a recipe."""
        where = f"{place or owner}: " if place or owner else ""
        super().__init__(f"{where}unknown key '{key}'{hint}")
        self.place, self.key, self.value = place, key, value
        self.is_near = "did you mean" in hint
        """True where the key is probably a misspelling of one that exists."""


def build(cls: type[C], values: object, place: str = "") -> C:
    """Build an instance of the dataclass `cls` from plain `values`, checked deeply. Nested dataclasses recurse; a class
    may define `validate(self, place)` for rules between fields. Raises ConfigError."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place}: expected a mapping of {', '.join(_field_names(cls))}; got {values!r}")
    values = typing.cast(Mapping[str, object], values)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise UnknownKey(place, str(key), values[key], _nearest_key(cls, str(key)), cls.__name__)
    hints = typing.get_type_hints(cls)  # fields hold their annotations as text (`from __future__ import annotations`)
    arguments = {key: coerce(hints[key], value, f"{place}.{key}".lstrip(".")) for key, value in values.items()}
    for name, f in fields.items():
        is_required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if is_required and name not in arguments:
            raise ConfigError(f"{place or cls.__name__}: missing key '{name}'; add `{name}: …`")
    instance = cls(**arguments)
    validate = getattr(instance, "validate", None)
    if validate is not None:
        validate(place)
    return instance


def coerce(hint: object, value: object, place: str) -> Any:  # its type is what `hint` says, which no checker can follow
    """Return `value` as the annotated type. Numbers widen (1 -> 1.0), nothing else is guessed. Raises ConfigError."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return value
    if origin in (Union, types.UnionType):  # `Optional[int]` and `int | None` have different origins
        return _coerce_union(args, value, place)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{place}: {shorten(value)} is not allowed{did_you_mean(str(value), args)}")
        return value
    if dataclasses.is_dataclass(hint):
        cls = typing.cast(type[object], hint)
        return value if isinstance(value, cls) else build(cls, value, place)
    if origin in (list, tuple):
        return _coerce_sequence(origin, args, value, place)
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{place}: expected a mapping; got {shorten(value)}")
        entries = typing.cast(Mapping[object, object], value)
        entry_hint = args[1] if args else object
        if args and args[0] is str and (keys := [key for key in entries if not isinstance(key, str)]):
            raise ConfigError(f"{place}: key {keys[0]!r} is no text; write '{keys[0]}' in quotes, or another key")
        return {key: coerce(entry_hint, entry, f"{place}.{key}") for key, entry in entries.items()}
    if hint is float and (number := _number(value)) is not None:
        if not math.isfinite(number):
            raise ConfigError(f"{place}: {value} is not a finite number; give one")
        return number
    is_bool_for_number = hint in (int, float) and isinstance(value, bool)  # in Python a bool is an int
    if isinstance(value, typing.cast(type, hint)) and not is_bool_for_number:
        return value
    is_written_number = isinstance(value, str) and any(character.isdigit() for character in value)
    fix = "; write its decimal digits" if hint in (int, float) and is_written_number else ""
    raise ConfigError(f"{place}: expected {_type_name(hint)}; got {shorten(value)}{fix}")


def _coerce_union(options: tuple[object, ...], value: object, place: str) -> object:
    if value is None and type(None) in options:
        return None
    choices = [option for option in options if option is not type(None)]
    mappings = [choice for choice in choices if typing.get_origin(choice) is dict]
    if mappings and isinstance(value, Mapping):
        mapping = typing.cast("Mapping[object, object]", value)
        return coerce(mappings[0], mapping, place)  # so that the complaint is about what is in it
    for choice in choices[:-1]:
        try:
            return coerce(choice, value, place)
        except ConfigError:
            continue
    words = [word for choice in choices if typing.get_origin(choice) is Literal for word in typing.get_args(choice)]
    if words and choices[-1] is bool and not isinstance(value, bool):
        raise ConfigError(f"{place}: expected {', '.join(words)}, true or false; got {shorten(value)}")
    # The complaint is that of the last choice, or of the one that takes lists where a list is given.
    takes_lists = [choice for choice in choices if typing.get_origin(choice) in (list, tuple)]
    if takes_lists and type(value) in (list, tuple):
        return coerce(takes_lists[-1], typing.cast("Sequence[object]", value), place)
    return coerce(choices[-1], value, place)


def _coerce_sequence(origin: object, args: tuple[object, ...], value: object, place: str) -> object:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigError(f"{place}: expected a list; got {shorten(typing.cast(object, value))}")
    entries = typing.cast(Sequence[object], value)
    if origin is tuple and Ellipsis not in args and len(args) != len(entries):
        raise ConfigError(f"{place}: expected a list of {len(args)}; got {shorten(entries)}")
    # Tuples in configs hold one type, as `tuple[float, float]` does: the first argument stands for all.
    entry_hint = args[0] if args else object
    items = [coerce(entry_hint, entry, f"{place}[{i}]") for i, entry in enumerate(entries)]
    return items if origin is list else tuple(items)


def shorten(value: object, limit: int = 100) -> str:
    """Return a value as Python writes it, for a message: its middle is left out where it is longer than `limit`."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} of very many levels"
    return text if len(text) <= limit else f"{text[: limit - 20]} … {text[-17:]}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without its full stop; its type where there is no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def did_you_mean(word: object, names: Iterable[object]) -> str:
    """Return '; did you mean …' when one of `names` is close to `word`, else '; known: …' with all of them."""
    choices = [_as_shown(str(name)) for name in names]
    if not choices:
        return "; there is none"
    close = nearest(str(word), choices)
    return f"; did you mean '{close}'?" if close else f"; known: {', '.join(sorted(choices))}"


def _as_shown(name: str) -> str:
    """Return a name on one line, whatever a file calls its columns."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _nearest_key(cls: type, word: str) -> str:
    """Return what `did_you_mean` finds among the fields of `cls`, and of the dataclasses in it:
    `optimizer.learning_rate`."""
    names = _field_names(cls)
    inner_names = {
        name: f"{field}.{name}"
        for field, hint in reversed(typing.get_type_hints(cls).items())  # the first of a name wins
        if dataclasses.is_dataclass(hint)
        for name in _field_names(typing.cast(type, hint))
    }
    close = nearest(word, [*names, *inner_names])
    if close and close not in names:
        return f"; did you mean '{inner_names[close]}'?"
    return did_you_mean(word, names)


def read_yaml(path: Path) -> Any:  # a mapping in a valid recipe, which callers check
    """Read a YAML file, its `${…}` left as written. Raises ConfigError for one that is not valid YAML, or holds a value
    that YAML would read as another one than is written."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        values = OmegaConf.load(io.StringIO(text))
        if ambiguous := find_ambiguous(text):
            raise ConfigError(f"{path}:{ambiguous[0]}: {ambiguous[1]}")
        return values
    except ConfigError:
        raise
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not utf-8 (byte {error.start + 1}); save the file as utf-8") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid YAML (brackets or references without an end)") from error
    # OSError: no file, or what OmegaConf takes for no configuration; ValueError: a date or a number that is none.
    # AssertionError: OmegaConf's, for a text in quotes alone.
    except (YAMLError, OmegaConfBaseException, OSError, ValueError, TypeError, AssertionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f"{path}:{line + 1}" if line is not None else str(path)
        raise ConfigError(
            f"{where}: not valid YAML ({getattr(error, 'problem', None) or first_line(error).partition(';')[0]})"
        ) from error


def read_assignment(value: str, place: str) -> object:
    """Return the value of an override or argument `key=value`, read as YAML: `1e-5` is a number, `[a, b]` a list. Raises
    ConfigError, which begins with `place`."""
    try:
        ambiguous = find_ambiguous(value)
        parsed = typing.cast(Values, OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"])))["value"]
    except (OmegaConfBaseException, YAMLError, TypeError, LookupError, ValueError, RecursionError, OSError) as error:
        raise ConfigError(f"{place}: {first_line(error)}; check the key and the value") from error
    if ambiguous:
        raise ConfigError(f"{place}: {ambiguous[1]}")
    return parsed


def merge(base: object, change: object, place: str) -> DictConfig | ListConfig:
    """Return `base` overridden key by key with `change`. Raises ConfigError, which begins with `place` and the key."""
    _check_same_shape(to_plain(base), to_plain(change), place)
    try:
        return OmegaConf.merge(base, change)  # type: ignore[arg-type]  # it takes plain mappings and lists too
    except (OmegaConfBaseException, TypeError) as error:  # shapes that differ only behind a `${…}`
        raise ConfigError(f"{place}: {first_line(error)}") from error


def to_plain(config: object) -> Any:  # of whatever type was in the container
    """Return OmegaConf's containers as Python mappings and lists, every `${…}` as it is written."""
    return OmegaConf.to_container(config, resolve=False) if OmegaConf.is_config(config) else config


def _check_same_shape(base: object, change: object, place: str) -> None:
    """Raise ConfigError where one has a list and the other a mapping: OmegaConf cannot merge these."""
    for kind, opposite, name in ((Mapping, list, "mapping"), (list, Mapping, "list")):
        if isinstance(base, kind) and isinstance(change, opposite):
            raise ConfigError(
                f"{place}: expected a {name}, as in what it changes; got {shorten(typing.cast(object, change))}"
            )
    if isinstance(base, Mapping) and isinstance(change, Mapping):
        base_values = typing.cast(Mapping[str, object], base)
        for key, value in typing.cast(Mapping[str, object], change).items():
            separator = " " if place.endswith(":") else "."  # `recipe.yaml: stages.0`: after a file comes no dot
            _check_same_shape(base_values.get(key), value, f"{place}{separator}{key}")


def resolve(config: object, place: str) -> Values:
    """Return a plain dict with every `${…}` interpolation resolved. Raises ConfigError."""
    try:
        return typing.cast(Values, OmegaConf.to_container(OmegaConf.create(config), resolve=True))  # type: ignore[call-overload]
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if getattr(error, "full_key", None) else ""
        raise ConfigError(f"{place}: {key}{first_line(error)}") from error


def _field_names(cls: type) -> list[str]:
    return [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]


def _number(value: object) -> float | None:
    """Return the value of a number, or of text that is one: YAML 1.1 reads 1e-5 (no dot) as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):  # a whole number may be too large for any float
        return None


def _type_name(hint: object) -> str:
    names: dict[object, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(hint, str(hint))
