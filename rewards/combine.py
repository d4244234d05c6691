"""Defines the configuration of a reward, and combines the parts of one sample into one verdict.

parts:                                                    # the rule of Step-Audio-R1, arXiv 2511.15848
  - {verifier: math, weight: {text: 1, audio: 0.8}}       # named accuracy unless it says otherwise
  - {verifier: format, name: format, weight: {audio: 0.2}}

A part judges the prompts that its `when:` and its weights name. It counts where its gate `only_if:` is open, and is
logged by its name either way.

watch:                                                    # second opinions: they never count, an rlvr stage compares them
  - {verifier: numeric}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from rewards.contract import NO_OPINION, OVER_DEADLINE, TimeoutPolicy
from rewards.watch import WATCH, WatchConfig, check_watch
from rewards.when import KINDS, VerifierConfig, check_when, values_differ, values_of
from rl.config import ConfigError, did_you_mean
from rl.types import Prompt, RewardSpan, Verdict


@dataclass(frozen=True, slots=True)
class PartConfig(VerifierConfig):
    """One part of a reward: a verifier, the prompts that it judges, and how much its score counts."""

    name: str = "accuracy"
    """The name under which the part is logged; parts may share one where no prompt is judged by both."""
    weight: dict[str, float] | float = 1.0
    """A number, or one for each kind of prompt that the part judges: `{text: 1, audio: 0.8}`."""
    only_if: dict[str, float] | str | None = None
    """A gate: the part counts only where the part of that name scored above 0, or at least the number given:
    `{accuracy: 0.5}`. An inner score of a part is named `part/inner`. Where that part has no verdict the gate is closed."""
    clip: tuple[float, float] | None = None
    """[lowest, highest] to which the part's score is clipped before it is weighed."""
    on_timeout: TimeoutPolicy | None = None
    """The score of an answer on which the verifier uses up `deadline_s` seconds of CPU time, or `memory_mb`: `zero`,
    the part's score 0, or `error`, which keeps the sample out of the gradient. By default `zero` if the time depends
    only on the answer, as for most of the library's verifiers; `error` for `grounding`, `judge`, `reward_model`, a
    verifier of yours whose module has no `ON_TIMEOUT = "zero"`, and a part with a negative weight, whose 0 would be no
    loss. A verifier that waits instead of working, or crashes, is always an error."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for settings that contradict each other or judge no prompt."""
        weights = self.weight if isinstance(self.weight, dict) else {"text": self.weight}
        for key, value in weights.items():
            if key not in KINDS:
                raise ConfigError(f"{place}.weight: unknown key '{key}'{did_you_mean(key, KINDS)}")
            if not math.isfinite(value):
                raise ConfigError(f"{place}.weight: {value} is not a finite number")
        check_when(self.when or {}, f"{place}.when")
        _check_clip(self.clip, f"{place}.clip")
        if self.on_timeout == "zero" and self.is_penalty:
            raise ConfigError(
                f"{place}.on_timeout: zero would spare slow answers the negative weight; write error or remove it"
            )
        if not self._kinds():
            raise ConfigError(f"{place}: judges no prompt: its `weight` and its `when` name different kinds")

    @property
    def is_penalty(self) -> bool:
        """True where a weight is negative."""
        weights = self.weight.values() if isinstance(self.weight, dict) else [self.weight]
        return any(weight < 0 for weight in weights)

    def applies(self, prompt: Prompt) -> bool:
        """Return whether the part judges this prompt."""
        when = self.when or {}
        return (
            ("audio" if prompt.clips else "text") in self._kinds()
            and ("source" not in when or prompt.source in values_of(when["source"]))
            and all(
                name in prompt.fields and prompt.fields[name] in values_of(values)
                for name, values in when.get("field", {}).items()
            )
        )

    def weight_for(self, prompt: Prompt) -> float:
        """Return the part's weight for a prompt that it judges."""
        return self.weight["audio" if prompt.clips else "text"] if isinstance(self.weight, dict) else self.weight

    @property
    def gates(self) -> Mapping[str, float]:
        """Lowest score that opens the gate, by the name of the part that must reach it."""
        if isinstance(self.only_if, str):
            return {self.only_if: math.ulp(0.0)}  # the smallest positive float: "above 0" as an "at least"
        return self.only_if or {}

    def disjoint(self, other_part: PartConfig) -> bool:
        """Return whether no prompt can be judged by both parts."""
        when, other_when = self.when or {}, other_part.when or {}
        if not self._kinds() & other_part._kinds() or values_differ(when, other_when, "source"):
            return True
        fields, other_fields = when.get("field", {}), other_when.get("field", {})
        return any(values_differ(fields, other_fields, name) for name in fields)

    def _kinds(self) -> set[str]:
        """Return the kinds of prompts that both `weight` and `when` admit."""
        kinds: set[str] = set(self.weight if isinstance(self.weight, dict) else KINDS)
        when = self.when or {}
        for kind, opposite in (("text", "audio"), ("audio", "text")):
            if kind in when:
                kinds &= {kind} if when[kind] else {opposite}  # `audio: false` means text alone
        return kinds


@dataclass(frozen=True, slots=True)
class RewardConfig:
    """A reward: its parts, second opinions on them, and the limits under which all of them judge."""

    parts: list[PartConfig]
    """The parts; a rollout's score is the weighted sum of those that apply to its prompt."""
    deadline_s: float = 10.0
    """CPU seconds that one part may use for one sample, what it starts included; then its process is killed and its
    `on_timeout` decides. One that waits (sleeps, asks a server) is killed after six times as many seconds on the clock,
    and the sample is an error."""
    workers: int = 1
    """Number of worker processes that judge side by side."""
    memory_mb: int = 2048
    """Megabytes that judging may allocate in one worker, beyond what its verifiers take when they are loaded. Where they do not
    suffice in a fresh worker either, the part's `on_timeout` decides."""
    max_error_share: float = 0.5
    """Share of the recent samples that may fail to be judged before the run stops."""
    clip: tuple[float, float] | None = None
    """[lowest, highest] to which the whole score is clipped."""
    watch: list[WatchConfig] = field(default_factory=list[WatchConfig])
    """Second opinions on the same samples. They never enter the score, and their errors cost no sample its verdict."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for limits out of range, gates without a part, and parts that share a name and a prompt."""
        if not self.parts:
            raise ConfigError(f"{place}.parts: empty; name at least one verifier")
        for key, lowest in (("workers", 1), ("memory_mb", 64)):
            if getattr(self, key) < lowest:
                raise ConfigError(f"{place}.{key}: {getattr(self, key)} is too small; at least {lowest}")
        if not 0 < self.deadline_s < math.inf:
            raise ConfigError(f"{place}.deadline_s: {self.deadline_s} is not a positive number of seconds")
        if not 0 <= self.max_error_share <= 1:
            raise ConfigError(f"{place}.max_error_share: {self.max_error_share} is not between 0 and 1")
        _check_clip(self.clip, f"{place}.clip")
        names = {part.name for part in self.parts}
        check_watch(self.watch, names, place)
        for i, part in enumerate(self.parts):
            for gate in part.gates:
                # only the part's name can be checked: inner scores (`part/inner`) exist once it has judged
                other_names = sorted(names - {part.name})
                if gate.partition("/")[0] not in other_names:
                    hint = did_you_mean(gate, other_names)
                    raise ConfigError(f"{place}.parts[{i}].only_if: no other part '{gate}'{hint}")
        for (i, a), (j, b) in combinations(enumerate(self.parts), 2):
            if a.name == b.name and not a.disjoint(b):
                raise ConfigError(
                    f"{place}.parts[{j}]: named '{b.name}' like parts[{i}] and both may judge the same prompt; "
                    "rename one or give them disjoint `when`"
                )

    @property
    def judging(self) -> list[PartConfig]:
        """The parts that judge: those of the reward, then the second opinions."""
        return [*self.parts, *(PartConfig(w.verifier, w.part_name, 0.0, args=w.args, when=w.when) for w in self.watch)]

    def place(self, index: int) -> str:
        """Return where in a reward `judging[index]` stands: `parts[0]`, `watch[0]`."""
        count = len(self.parts)
        return f"parts[{index}]" if index < count else f"{WATCH}[{index - count}]"

    def success(self, prompt: Prompt, verdict: Verdict) -> float:
        """Return what dynamic sampling compares within a group: the part `accuracy` where it counts in the score of this
        prompt, 0 if its gate kept it from being asked; the score if no part of that name counts or has an opinion."""
        counts = any(p.name == "accuracy" and p.applies(prompt) and p.weight_for(prompt) != 0 for p in self.parts)
        if counts and f"accuracy/{NO_OPINION}" not in verdict.parts:
            return verdict.parts.get("accuracy", 0.0)
        return verdict.score

    def applying(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the indices in `judging` of those that judge this prompt."""
        return tuple(i for i, part in enumerate(self.judging) if part.applies(prompt))


Results = Sequence[tuple[PartConfig, Verdict | None]]
"""The parts that apply to a prompt, with their verdicts; None for one that was not asked because its gate is closed."""


def combine(results: Results, prompt: Prompt, clip: tuple[float, float] | None = None) -> Verdict:
    """Return one verdict from those of the parts that apply: score = Σ weight × part score over the parts whose gates are
    open.

    Its `parts` hold each part's score as `name`, its inner scores as `name/inner`, and for a gated part `name/counted`
    (1.0 or 0.0). Its `read` is that of the part `accuracy`. It is an error where a part that counts is one, and where all
    that judged have no opinion; a part without one counts as if it did not apply.
    """
    if not results:
        audio = "with" if prompt.clips else "without"
        return Verdict(error=f"no reward part applies to a prompt of source '{prompt.source}' {audio} audio")
    parts: dict[str, float] = {}
    abstaining = [part for part, verdict in results if verdict is not None and NO_OPINION in verdict.parts]
    if abstaining and all(verdict is None or NO_OPINION in verdict.parts for _, verdict in results):
        names = ", ".join(part.name for part in abstaining)
        return Verdict(error=f"no part of the reward has an opinion on this sample: {names}")
    # All scores before any sum: a gate may name a part that stands behind its own.
    for part, verdict in results:
        if verdict is not None and verdict.error is None and part in abstaining:
            parts[f"{part.name}/{NO_OPINION}"] = 1.0
        elif verdict is not None and verdict.error is None:
            parts[part.name] = verdict.score
            parts |= {f"{part.name}/{inner}": value for inner, value in verdict.parts.items()}
    score, errors, spans = 0.0, list[str](), list[RewardSpan]()
    error_parts = {part.name for part, verdict in results if verdict is not None and verdict.error is not None}
    for part, verdict in results:
        unknown_gates = [gate for gate in part.gates if gate.partition("/")[0] in error_parts]
        counts = is_open(part, parts)
        if unknown_gates:
            # Not the same as a closed gate: the part may or may not count, so the sum is unknown too.
            errors.append(f"{part.name}: its gate '{unknown_gates[0]}' has no verdict")
        elif counts and verdict is not None and part not in abstaining:
            if verdict.error is not None:
                errors.append(f"{part.name}: {verdict.error}")
            weight = part.weight_for(prompt)
            score += weight * _apply_clip(verdict.score, part.clip)
            spans += [replace(span, score=weight * span.score) for span in verdict.spans]
        if part.gates and not unknown_gates:
            parts[f"{part.name}/counted"] = float(counts)
    reason = "; ".join(f"{part.name}: {v.reason}" for part, v in results if v is not None and v.reason)
    read = next((v.read for part, v in results if part.name == "accuracy" and v is not None), "")
    if errors:  # no score at all: a sum with a term missing is not a lower score
        return Verdict(parts=parts, error="; ".join(errors), reason=reason, read=read)
    return Verdict(_apply_clip(score, clip), parts, reason=reason, read=read, spans=tuple(spans))


def add_opinions(verdict: Verdict, results: Results) -> Verdict:
    """Return the verdict with the second opinions among its parts: `watch/NAME` is an opinion's score, or where it could
    not judge `watch/NAME/error` is 1 and the reason says why. Nothing else of the verdict changes."""
    parts, reasons = dict(verdict.parts), [verdict.reason]
    for part, opinion in results:
        if opinion is not None and opinion.error is None and NO_OPINION not in opinion.parts:
            parts[part.name] = opinion.score
        elif opinion is not None and opinion.error is not None:
            parts[f"{part.name}/error"] = 1.0
            reasons.append(f"{part.name}: {opinion.error}")
    return replace(verdict, parts=parts, reason="; ".join(filter(None, reasons)))


def is_open(part: PartConfig, scores: Mapping[str, float]) -> bool:
    """Return whether a part's gate is open, by the scores of the other parts and their inner ones. One without a gate is
    always open."""
    return all(gate in scores and scores[gate] >= lowest for gate, lowest in part.gates.items())


def correct(verdict: Verdict) -> bool:
    """Return whether curation and evaluation count a sample as right: its part `accuracy`, or without one its score, is at
    least 0.5."""
    return verdict.error is None and verdict.parts.get("accuracy", verdict.score) >= 0.5


def is_over_deadline(verdict: Verdict) -> bool:
    """Return whether a part scored 0 because the answer made its verifier use up its time or memory (`on_timeout: zero`)."""
    return any(name.endswith(f"/{OVER_DEADLINE}") for name in verdict.parts)


def _check_clip(clip: tuple[float, ...] | None, place: str) -> None:
    if clip is not None and not (len(clip) == 2 and clip[0] <= clip[1]):
        raise ConfigError(f"{place}: {list(clip)} is not [lowest, highest]")


def _apply_clip(score: float, clip: tuple[float, float] | None) -> float:
    return score if clip is None else min(max(score, clip[0]), clip[1])
