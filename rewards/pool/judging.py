"""Judges in a pool's processes: a rollout, or the number of a gold case, in; a verdict out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from rewards import resolve
from rewards.contract import Case, error_to_wire, to_wire
from rewards.foreign import ForeignReward
from rewards.pool.work import Call
from rl.types import RewardSpan, Rollout, Verdict

Sample = Rollout | int
"""Sample to judge: a rollout, or `i` for gold case i of the verifier, or `~i` for the same without the case's
arguments."""


class Judging:
    """The work of verifiers."""

    noun = "verifier"
    longest_answer = 1 << 20  # `rewards.contract.to_wire` keeps an answer far shorter
    may_repeat = True

    def modules(self, calls: Sequence[Call]) -> Sequence[str]:
        """Return the library's verifiers among the calls."""
        return [f"rewards.verifiers.{call.verifier}" for call in calls if ":" not in call.verifier]

    def load(self, call: Call, folder: Path | None) -> resolve.Verifier:
        """Return the verifier; one in another library's form is called once, so that it has imported all it needs."""
        verifier = resolve.load(call.verifier, folder, call.args)
        if isinstance(verifier.verify, ForeignReward) and verifier.verify.form != "ours":
            verifier.verify.warm_up(call.args)
        return verifier

    def describe(self, loaded: Sequence[resolve.Verifier]) -> object:
        """Return the gold cases of each verifier, as `rewards.contract.GoldCase` has them."""
        return [v.gold and [[c.pred, c.gold, *c.bounds] for c in v.gold] for v in loaded]

    def prompt_id(self, loaded: resolve.Verifier, sample: Sample) -> str:
        """Return the id of the sample's prompt."""
        return self._case(loaded, sample)[0].prompt.id

    def answer(self, loaded: resolve.Verifier, args: Mapping[str, Any], sample: Sample) -> object:
        """Return the verdict on a sample."""
        rollout, case_args = self._case(loaded, sample)
        return to_wire(loaded.verify(rollout.prompt, rollout, **{**args, **case_args}), loaded.is_bounded)

    def refuse(self, error: str) -> object:
        """Return the verdict of a sample that could not be judged."""
        return error_to_wire(error)

    def parse(self, answer: object) -> Verdict | None:
        """Return a verdict from what a worker wrote, or None where it is no valid one."""
        # A verifier itself may have written this into the channel, so nothing about its form is taken for granted.
        if not isinstance(answer, list) or len(cast("list[object]", answer)) != 6:
            return None
        score, parts, error, reason, read, spans = cast("list[object]", answer)
        if not isinstance(score, float) or not isinstance(reason, str) or not isinstance(read, str):
            return None
        if not isinstance(error, str | None) or not isinstance(parts, dict) or not isinstance(spans, list):
            return None
        scores = cast("dict[str, object]", parts)  # JSON has no other keys
        if not all(isinstance(part, float) for part in scores.values()):
            return None
        read_spans = [_read_span(span) for span in cast("list[object]", spans)]
        if None in read_spans:
            return None
        marked = tuple(span for span in read_spans if span is not None)
        return Verdict(score, cast("dict[str, float]", scores), error, reason, read, marked)

    def failure(self, error: str) -> Verdict:
        """Return the verdict of a sample that cost its worker."""
        return Verdict(error=error)

    def _case(self, loaded: resolve.Verifier, sample: Sample) -> tuple[Rollout, Mapping[str, Any]]:
        """Return (rollout, arguments of its own)."""
        if not isinstance(sample, int):
            return sample, {}
        # Of `i` and `~i` one is negative: the other is the case's number.
        case = cast("list[Case]", loaded.gold)[max(sample, ~sample)]
        return case.rollout(), case.args if sample >= 0 else {}


def _read_span(span: object) -> RewardSpan | None:
    """Return a span from its JSON, or None where it is no valid one."""
    match span:
        case [int(start), int(end), float(score), "characters"]:
            return RewardSpan(start, end, score)
        case [int(start), int(end), float(score), "tokens"]:
            return RewardSpan(start, end, score, "tokens")
        case _:
            return None
