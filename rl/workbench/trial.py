"""Trial of a verifier: how well it agrees with labelled cases, and how fast it is."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rewards import resolve
from rewards.combine import PartConfig, RewardConfig
from rewards.contract import Case
from rewards.pool.worker import CASE_MARK
from rewards.service import RewardService
from rl.config import ConfigError
from rl.types import Rollout, Verdict
from rl.workbench.cases import LabelledCase

DISAGREEMENTS = ("false_positive", "false_negative", "error", "timeout")
"""The ways in which a verifier can disagree with a label."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case with the verifier's verdict. `kind` is `agree` or one of DISAGREEMENTS."""

    case: LabelledCase
    verdict: Verdict
    kind: str

    def as_json(self) -> dict[str, object]:
        """Return the case and the verdict as `--json` prints them."""
        golds = self.case.golds
        row: dict[str, object] = {"case": self.case.place, "kind": self.kind, "pred": self.case.pred}
        row |= {"gold": golds[0] if len(golds) == 1 else list(golds), "equal": self.case.equal}
        if self.case.cls is not None:
            row["cls"] = self.case.cls
        if self.verdict.error is not None:
            return {**row, "error": self.verdict.error}
        return {**row, "score": self.verdict.score, "reason": self.verdict.reason}


@dataclass(frozen=True, slots=True)
class Trial:
    """The results of all cases, and the seconds that judging them took."""

    results: Sequence[CaseResult]
    seconds: float
    printed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Output of the verifier about a case, by the case's place; under an empty place that of its loading."""

    def summary(self, results: Sequence[CaseResult] | None = None) -> dict[str, int]:
        """Return counts over `results`, by default over all: `n`, and how many cases ended in each way."""
        results = self.results if results is None else results
        counts = Counter(result.kind for result in results)
        names = {"agree": "agree", "false_positive": "false_positive", "false_negative": "false_negative"}
        names |= {"error": "errors", "timeout": "timeouts"}
        return {"n": len(results), **{name: counts[kind] for kind, name in names.items()}}

    def classes(self) -> dict[str, dict[str, int]]:
        """Return the summary of each `cls` that the cases name."""
        names = sorted({result.case.cls for result in self.results if result.case.cls is not None})
        return {name: self.summary([r for r in self.results if r.case.cls == name]) for name in names}

    @property
    def disagreements(self) -> list[CaseResult]:
        """The results that do not agree with their label, errors last."""
        results = [result for result in self.results if result.kind != "agree"]
        return sorted(results, key=lambda result: DISAGREEMENTS.index(result.kind))

    @property
    def per_second(self) -> float:
        """Cases judged per second."""
        return round(len(self.results) / max(self.seconds, 1e-9), 1)

    def as_json(self) -> dict[str, object]:
        """Return the trial as `--json` prints it."""
        values: dict[str, object] = {**self.summary(), "per_second": self.per_second}
        values["disagreements"] = [result.as_json() for result in self.disagreements]
        if self.printed:
            values["printed"] = dict(self.printed)
        return values


class Workbench:
    """One verifier in isolated processes on all cores.

    Cases may bring arguments of their own. A worker loads a verifier with fixed arguments, so each distinct set of them (a
    variant, laid over `args`) is one part of a reward.
    """

    def __init__(
        self,
        verifier: str,
        folder: Path | None = None,
        args: Mapping[str, object] | None = None,
        variants: Sequence[Mapping[str, object] | None] = (None,),
        deadline_s: float = 10.0,
        workers: int | None = None,
    ) -> None:
        """Start the workers (one per core by default). Raises ConfigError for a verifier that does not exist or does not
        take the arguments."""
        distinct = {_key(variant): variant or {} for variant in variants}
        self._part_of = {key: part for part, key in enumerate(distinct)}
        parts = [
            PartConfig(verifier, f"variant {i}", args={**(args or {}), **variant})
            for i, variant in enumerate(distinct.values())
        ]
        for part in parts:  # here too, for an error that names the verifier and no part of a reward
            resolve.check(verifier, "verifier", folder, part.args)
        config = RewardConfig(parts, deadline_s, workers or len(os.sched_getaffinity(0)))
        # What a verifier prints helps who designs it; in a run it would be lost among the samples.
        self._output = tempfile.TemporaryDirectory(prefix="groundtone-printed-", ignore_cleanup_errors=True)
        self.service = RewardService(config, folder, output=Path(self._output.name))

    def __enter__(self) -> Workbench:
        return self

    def __exit__(self, *_: object) -> None:
        self.service.close()
        self._output.cleanup()

    def judge(self, samples: Sequence[tuple[Rollout, Mapping[str, object] | None]]) -> list[Verdict]:
        """Return the verdict on each rollout under its variant of the arguments, in order."""
        parts = [self._part_of[_key(variant)] for _, variant in samples]
        return self.service.judge_parts(parts, [rollout for rollout, _ in samples])

    def printed(self) -> dict[str, str]:
        """Return what the verifier has printed so far, by the place of the case, in the order of these; under an empty place
        what it printed while it was loaded."""
        texts = {"": ""}
        for file in sorted(Path(self._output.name).iterdir()):
            # Each worker loads the verifier: what it prints then is told once, from one that has finished loading.
            loading, *sections = file.read_text("utf-8", errors="replace").split(f"\n{CASE_MARK}")
            texts[""] = max(texts[""], loading, key=len)
            for section in sections:
                place, _, text = section.partition("\n")
                texts[place] = texts.get(place, "") + text
        return {place: text.strip("\n") for place, text in texts.items() if text.strip()}

    def judge_cases(self, cases: Sequence[LabelledCase]) -> Trial:
        """Judge every case and compare with its label."""
        self.service.start()  # the clock starts when the workers are up
        start = time.monotonic()
        samples = [
            # What a verifier prints is kept under the prompt's id.
            (replace(rollout, prompt=replace(rollout.prompt, id=case.place)), case.args)
            for case in cases
            for rollout in case.rollouts
        ]
        verdicts = iter(self.judge(samples))
        results = [self._compare(case, [next(verdicts) for _ in case.rollouts]) for case in cases]
        seconds, output = time.monotonic() - start, self.printed()
        places = ["", *dict.fromkeys(case.place for case in cases)]
        return Trial(results, seconds, {place: output[place] for place in places if place in output})

    def _compare(self, case: LabelledCase, verdicts: Sequence[Verdict]) -> CaseResult:
        """Compare a case's label with the best verdict over its golds."""
        # An errored verdict counts 0 here and is looked at below: it must not hide a right one beside it.
        best = max(verdicts, key=lambda v: v.score if v.error is None else 0.0)
        low, high = case.bounds
        error = next((v for v in verdicts if v.error is not None), None)
        # An error with one gold does not matter where the answer is right by another.
        if error is not None and not (best.error is None and case.equal and best.score >= low):
            return CaseResult(case, error, "timeout" if self.service.is_timeout(error) else "error")
        if low <= best.score <= high:
            return CaseResult(case, best, "agree")
        return CaseResult(case, best, "false_positive" if best.score > high else "false_negative")


def load_gold(verifier: str, folder: Path | None = None) -> list[Case]:
    """Import a verifier's module and return its GOLD. Raises ConfigError where it has none or does not load."""
    resolve.check(verifier, "verifier", folder)
    try:
        gold = resolve.load(verifier, folder).gold
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # isolation boundary: a user's module
        raise ConfigError(f"verifier '{verifier}' cannot be loaded: {type(error).__name__}: {error}") from error
    if not gold:
        raise ConfigError(
            f"verifier '{verifier}' has no GOLD; add some Case(pred, gold, equal) or name --cases FILE.jsonl"
        )
    return gold


def _key(variant: Mapping[str, object] | None) -> str:
    return json.dumps(variant or {}, sort_keys=True, default=repr)
