"""What a reward is made of, from YAML, and how the parts of one sample become one verdict.

parts:                                                    # the rule of Step-Audio-R1, arXiv 2511.15848
  - {verifier: math, weight: {text: 1, audio: 0.8}}       # named accuracy unless it says otherwise
  - {verifier: format, name: format, weight: {audio: 0.2}}

A part judges the prompts that its `when:` and its weights name, counts where its gate `only_if:` is open, and is logged
by its name either way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, cast

from rl.config import ConfigError, did_you_mean
from rl.types import Prompt, Verdict

KINDS = ("text", "audio")
"""Of prompts: without a clip, and with one."""


@dataclass(frozen=True, slots=True)
class PartConfig:
    verifier: str
    """An in-tree name (`rl verifiers list`), `pkg.mod:fn` or `file.py:fn`."""
    name: str = "accuracy"
    """Under which it is logged; parts may share a name where no prompt gets both."""
    weight: dict[str, float] | float = 1.0
    """A number, or one for each kind of prompt that it judges: `{text: 1, audio: 0.8}`."""
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    when: dict[str, Any] | None = None
    """`{source: x}`, `{source: [x, y]}`, `{audio: true}`, `{text: true}`, `{field: {task: pitch}}` (a column of the data
    that the recipe hands on, with a value or a list of values): the prompts that it judges; all without it."""
    only_if: dict[str, float] | str | None = None
    """A gate: the part counts where the part of that name scored above 0, or at least so much: `{accuracy: 0.5}`. What a
    part names itself is `part/inner`. Without that part's verdict the gate is closed."""
    clip: tuple[float, float] | None = None
    """Bounds of its score before it is weighed."""

    def validate(self, place: str) -> None:
        weights = self.weight if isinstance(self.weight, dict) else {"text": self.weight}
        for key, value in weights.items():
            if key not in KINDS:
                raise ConfigError(f"{place}.weight: unknown key '{key}'{did_you_mean(key, KINDS)}")
            if not math.isfinite(value):
                raise ConfigError(f"{place}.weight: {value} is not a finite number")
        _check_when(self.when or {}, f"{place}.when")
        _check_clip(self.clip, f"{place}.clip")
        if not self._kinds():
            raise ConfigError(f"{place}: judges no prompt: its `weight` and its `when` name different kinds")

    def applies(self, prompt: Prompt) -> bool:
        when = self.when or {}
        return (
            ("audio" if prompt.clips else "text") in self._kinds()
            and ("source" not in when or prompt.source in _values(when["source"]))
            and all(
                name in prompt.fields and prompt.fields[name] in _values(wanted)
                for name, wanted in when.get("field", {}).items()
            )
        )

    def weight_for(self, prompt: Prompt) -> float:
        """For a prompt that it applies to."""
        return self.weight["audio" if prompt.clips else "text"] if isinstance(self.weight, dict) else self.weight

    @property
    def gates(self) -> Mapping[str, float]:
        """Part -> the least score with which the gate is open."""
        return {self.only_if: math.ulp(0.0)} if isinstance(self.only_if, str) else self.only_if or {}

    def disjoint(self, other: PartConfig) -> bool:
        """Whether no prompt can get both."""
        mine, theirs = self.when or {}, other.when or {}
        if not self._kinds() & other._kinds() or _apart(mine, theirs, "source"):
            return True
        mine, theirs = mine.get("field", {}), theirs.get("field", {})
        return any(_apart(mine, theirs, name) for name in mine)

    def _kinds(self) -> set[str]:
        kinds: set[str] = set(self.weight if isinstance(self.weight, dict) else KINDS)
        for kind, other in (KINDS, KINDS[::-1]):
            if kind in (self.when or {}):
                kinds &= {kind} if (self.when or {})[kind] else {other}
        return kinds


@dataclass(frozen=True, slots=True)
class RewardConfig:
    parts: list[PartConfig]
    deadline_s: float = 10.0
    """CPU seconds that one part may use for one sample, what it starts included; then its process is killed and the
    sample is an error. One that waits (sleeps, asks a server) is killed after six times as many seconds on the clock."""
    workers: int = 1
    memory_mb: int = 2048
    """What judging may allocate in one worker, beyond what its verifiers take when they are loaded."""
    max_error_share: float = 0.5
    """A run stops when more than this share of its recent samples could not be judged."""
    clip: tuple[float, float] | None = None
    """Bounds of the whole score."""

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
        _check_clip(self.clip, f"{place}.clip")
        names = {part.name for part in self.parts}
        for i, part in enumerate(self.parts):
            for gate in part.gates:
                if gate.partition("/")[0] not in names - {part.name}:
                    others = sorted(names - {part.name})
                    raise ConfigError(f"{place}.parts[{i}].only_if: no other part '{gate}'{did_you_mean(gate, others)}")
        for (i, a), (j, b) in combinations(enumerate(self.parts), 2):
            if a.name == b.name and not a.disjoint(b):
                raise ConfigError(
                    f"{place}.parts[{j}]: named '{b.name}' like parts[{i}] and both may judge the same prompt; "
                    "rename one or give them disjoint `when`"
                )

    def applying(self, prompt: Prompt) -> tuple[int, ...]:
        """Indices of the parts that judge this prompt."""
        return tuple(i for i, part in enumerate(self.parts) if part.applies(prompt))


Results = Sequence[tuple[PartConfig, Verdict | None]]
"""The parts that apply to a prompt and what they said; None for one that was not asked because its gate is closed."""


def combine(results: Results, prompt: Prompt, clip: tuple[float, float] | None = None) -> Verdict:
    """One verdict from those of the parts that apply: score = Σ weight × part score over the parts whose gates are open;
    `parts` holds each part's score by its name, what it names itself as `name/inner`, and for a gated one
    `name/counted`; the reading of the answer is that of the part `accuracy`. The error of a part that counts is an error of the whole: a sum with a term missing is not a lower
    score."""
    if not results:
        audio = "with" if prompt.clips else "without"
        return Verdict(error=f"no reward part applies to a prompt of source '{prompt.source}' {audio} audio")
    parts: dict[str, float] = {}
    for part, verdict in results:
        if verdict is not None and verdict.error is None:
            parts[part.name] = verdict.score
            parts |= {f"{part.name}/{inner}": value for inner, value in verdict.parts.items()}
    score, errors = 0.0, list[str]()
    failed = {part.name for part, verdict in results if verdict is not None and verdict.error is not None}
    for part, verdict in results:
        unknown = [gate for gate in part.gates if gate.partition("/")[0] in failed]
        counts = is_open(part, parts)
        if unknown:
            errors.append(f"{part.name}: its gate '{unknown[0]}' has no verdict")
        elif counts and verdict is not None:
            if verdict.error is not None:
                errors.append(f"{part.name}: {verdict.error}")
            score += part.weight_for(prompt) * _clipped(verdict.score, part.clip)
        if part.gates and not unknown:
            parts[f"{part.name}/counted"] = float(counts)
    reason = "; ".join(f"{part.name}: {v.reason}" for part, v in results if v is not None and v.reason)
    read = next((v.read for part, v in results if part.name == "accuracy" and v is not None), "")
    if errors:
        return Verdict(parts=parts, error="; ".join(errors), reason=reason, read=read)
    return Verdict(_clipped(score, clip), parts, reason=reason, read=read)


def is_open(part: PartConfig, parts: Mapping[str, float]) -> bool:
    """Whether a part counts, by the scores of the others."""
    return all(gate in parts and parts[gate] >= least for gate, least in part.gates.items())


def correct(verdict: Verdict) -> bool:
    """Whether a sample counts as right in curation and evaluation: by its part `accuracy`, else by its score."""
    return verdict.error is None and verdict.parts.get("accuracy", verdict.score) >= 0.5


def _check_when(when: Mapping[str, Any], place: str) -> None:
    for key, value in when.items():
        if key not in (known := ("source", *KINDS, "field")):
            raise ConfigError(f"{place}: unknown key '{key}'{did_you_mean(key, known)}")
        if key in KINDS and not isinstance(value, bool):
            raise ConfigError(f"{place}.{key}: expected true or false; got {value!r}")
        if key == "source" and not (_values(value) and all(isinstance(name, str) for name in _values(value))):
            raise ConfigError(f"{place}.source: expected a source's name or a list of names; got {value!r}")
        if key == "field" and not (isinstance(value, dict) and value):
            raise ConfigError(
                f"{place}.field: expected fields and their values, such as {{task: pitch}}; got {value!r}"
            )


def _check_clip(clip: tuple[float, ...] | None, place: str) -> None:
    if clip is not None and not (len(clip) == 2 and clip[0] <= clip[1]):
        raise ConfigError(f"{place}: {list(clip)} is not [lowest, highest]")


def _clipped(score: float, clip: tuple[float, float] | None) -> float:
    return score if clip is None else min(max(score, clip[0]), clip[1])


def _values(wanted: Any) -> list[Any]:
    return cast(list[Any], wanted) if isinstance(wanted, list) else [wanted]


def _apart(a: Mapping[str, Any], b: Mapping[str, Any], key: str) -> bool:
    return key in a and key in b and not any(value in _values(b[key]) for value in _values(a[key]))
