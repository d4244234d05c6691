"""What a reward is made of, from YAML, and how the parts of one sample become one verdict.

parts:
  - {verifier: math, weight: 0.8}                      # named accuracy unless it says otherwise
  - {verifier: format, name: format, weight: 0.2, when: {audio: true}}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, cast

from rl.config import ConfigError, did_you_mean
from rl.types import Prompt, Verdict


@dataclass(frozen=True, slots=True)
class PartConfig:
    verifier: str
    """An in-tree name (`rl verifiers list`), `pkg.mod:fn` or `file.py:fn`."""
    name: str = "accuracy"
    """Under which it is logged; parts may share a name where no prompt gets both."""
    weight: float = 1.0
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    when: dict[str, Any] | None = None
    """`{source: x}`, `{source: [x, y]}`, `{audio: true}`: the prompts that it judges; all without it."""

    def validate(self, place: str) -> None:
        if not math.isfinite(self.weight):
            raise ConfigError(f"{place}.weight: {self.weight} is not a finite number")
        for key, value in (self.when or {}).items():
            if key not in ("source", "audio"):
                raise ConfigError(f"{place}.when: unknown key '{key}'{did_you_mean(key, ('source', 'audio'))}")
            if key == "audio" and not isinstance(value, bool):
                raise ConfigError(f"{place}.when.audio: expected true or false; got {value!r}")
            if key == "source" and not _texts(value):
                raise ConfigError(f"{place}.when.source: expected a source's name or a list of names; got {value!r}")

    def applies(self, prompt: Prompt) -> bool:
        when = self.when or {}
        return ("source" not in when or prompt.source in _sources(when)) and (
            "audio" not in when or when["audio"] == bool(prompt.clips)
        )


@dataclass(frozen=True, slots=True)
class RewardConfig:
    parts: list[PartConfig]
    deadline_s: float = 10.0
    """Seconds that one part may take over one sample; then its process is killed and the sample is an error."""
    workers: int = 1
    memory_mb: int = 2048
    """What judging may allocate in one worker, beyond what its verifiers take when they are loaded."""
    max_error_share: float = 0.5
    """A run stops when more than this share of its recent samples could not be judged."""

    def validate(self, place: str) -> None:
        if not self.parts:
            raise ConfigError(f"{place}.parts: empty; name at least one verifier")
        for key, least in (("workers", 1), ("memory_mb", 64)):
            if getattr(self, key) < least:
                raise ConfigError(f"{place}.{key}: {getattr(self, key)} is too small; at least {least}")
        if not 0 < self.deadline_s < math.inf:
            raise ConfigError(f"{place}.deadline_s: {self.deadline_s} is not a positive number of seconds")
        if not 0 <= self.max_error_share <= 1:
            raise ConfigError(f"{place}.max_error_share: {self.max_error_share} is not between 0 and 1")
        for (i, a), (j, b) in combinations(enumerate(self.parts), 2):
            if a.name == b.name and not _disjoint(a.when or {}, b.when or {}):
                raise ConfigError(
                    f"{place}.parts[{j}]: named '{b.name}' like parts[{i}] and both may judge the same prompt; "
                    "rename one or give them disjoint `when`"
                )

    def applying(self, prompt: Prompt) -> tuple[int, ...]:
        """Indices of the parts that judge this prompt."""
        return tuple(i for i, part in enumerate(self.parts) if part.applies(prompt))


def combine(results: Sequence[tuple[PartConfig, Verdict]], prompt: Prompt) -> Verdict:
    """One verdict from those of the parts that apply: score = Σ weight × part score; `parts` holds each part's score
    by its name, and what it names itself as `name/inner`. One part's error is an error of the whole: a sum with a
    term missing is not a lower score."""
    if not results:
        audio = "with" if prompt.clips else "without"
        return Verdict(error=f"no reward part applies to a prompt of source '{prompt.source}' {audio} audio")
    errors = [f"{part.name}: {verdict.error}" for part, verdict in results if verdict.error is not None]
    parts: dict[str, float] = {}
    for part, verdict in results:
        if verdict.error is None:
            parts[part.name] = verdict.score
            parts |= {f"{part.name}/{inner}": value for inner, value in verdict.parts.items()}
    reason = "; ".join(f"{part.name}: {verdict.reason}" for part, verdict in results if verdict.reason)
    if errors:
        return Verdict(parts=parts, error="; ".join(errors), reason=reason)
    return Verdict(sum(part.weight * verdict.score for part, verdict in results), parts, reason=reason)


def correct(verdict: Verdict) -> bool:
    """Whether a sample counts as right in curation and evaluation: by its part `accuracy`, else by its score."""
    return verdict.error is None and verdict.parts.get("accuracy", verdict.score) >= 0.5


def _texts(value: Any) -> bool:
    names = cast(list[Any], value) if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) for name in names)


def _sources(when: Mapping[str, Any]) -> set[str]:
    source = when["source"]
    return {source} if isinstance(source, str) else set(source)


def _disjoint(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    by_source = "source" in a and "source" in b and not _sources(a) & _sources(b)
    return by_source or ("audio" in a and "audio" in b and a["audio"] != b["audio"])
