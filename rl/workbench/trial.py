"""How well a verifier agrees with labelled cases, and how fast it is."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards import resolve
from rewards.combine import PartConfig, RewardConfig
from rewards.contract import Case
from rewards.service import RewardService
from rl.config import ConfigError
from rl.types import Rollout, Verdict
from rl.workbench.cases import Labelled

KINDS = ("false_positive", "false_negative", "error", "timeout")


@dataclass(frozen=True, slots=True)
class Judged:
    """A case and what the verifier said. `kind` is one of `agree` and KINDS."""

    case: Labelled
    verdict: Verdict
    kind: str

    def as_json(self) -> dict[str, Any]:
        golds = self.case.golds
        shown: dict[str, Any] = {"case": self.case.place, "kind": self.kind, "pred": self.case.pred}
        shown |= {"gold": golds[0] if len(golds) == 1 else list(golds), "equal": self.case.equal}
        if self.case.cls is not None:
            shown["cls"] = self.case.cls
        if self.verdict.error is not None:
            return {**shown, "error": self.verdict.error}
        return {**shown, "score": self.verdict.score, "reason": self.verdict.reason}


@dataclass(frozen=True, slots=True)
class Trial:
    judged: Sequence[Judged]
    seconds: float

    def summary(self, judged: Sequence[Judged] | None = None) -> dict[str, int]:
        """Counts over all cases, or over those given; a case is in exactly one of them beside `n`."""
        judged = self.judged if judged is None else judged
        counts = Counter(j.kind for j in judged)
        names = {"agree": "agree", "false_positive": "false_positive", "false_negative": "false_negative"}
        names |= {"error": "errors", "timeout": "timeouts"}
        return {"n": len(judged), **{name: counts[kind] for kind, name in names.items()}}

    def classes(self) -> dict[str, dict[str, int]]:
        """The summary of each `cls`, where cases have one."""
        names = sorted({j.case.cls for j in self.judged if j.case.cls is not None})
        return {name: self.summary([j for j in self.judged if j.case.cls == name]) for name in names}

    @property
    def disagreements(self) -> list[Judged]:
        """All that do not agree, errors last."""
        return sorted((j for j in self.judged if j.kind != "agree"), key=lambda j: KINDS.index(j.kind))

    def as_json(self) -> dict[str, Any]:
        return {
            **self.summary(),
            "per_second": round(len(self.judged) / max(self.seconds, 1e-9), 1),
            "disagreements": [judged.as_json() for judged in self.disagreements],
        }


class Bench:
    """One verifier in isolated processes on all cores. `variants` are arguments laid over `args`."""

    def __init__(
        self,
        verifier: str,
        folder: Path | None = None,
        args: Mapping[str, Any] | None = None,
        variants: Sequence[Mapping[str, Any] | None] = (None,),
        deadline_s: float = 10.0,
        workers: int | None = None,
    ) -> None:
        """Raises ConfigError for a verifier that does not exist or does not take the arguments."""
        self._place = {_key(v): i for i, v in enumerate({_key(v): v for v in variants}.values())}
        distinct = list({_key(v): v for v in variants}.values())
        parts = [
            PartConfig(verifier, f"variant {i}", args={**(args or {}), **(variant or {})})
            for i, variant in enumerate(distinct)
        ]
        for part in parts:
            resolve.check(verifier, "verifier", folder, part.args)
        config = RewardConfig(parts, deadline_s, workers or len(os.sched_getaffinity(0)))
        self.service = RewardService(config, folder)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.service.close()

    def judge(self, samples: Sequence[tuple[Rollout, Mapping[str, Any] | None]]) -> list[Verdict]:
        """What the verifier says of each rollout under its variant of the arguments, in order."""
        return self.service.judge_parts([self._place[_key(variant)] for _, variant in samples], [r for r, _ in samples])

    def try_on(self, cases: Sequence[Labelled]) -> Trial:
        """Judges every case; the clock starts when the workers are up."""
        self.service.start()
        start = time.monotonic()
        verdicts = iter(self.judge([(rollout, case.args) for case in cases for rollout in case.rollouts]))
        judged = [self._judged(case, [next(verdicts) for _ in case.rollouts]) for case in cases]
        return Trial(judged, time.monotonic() - start)

    def _judged(self, case: Labelled, verdicts: Sequence[Verdict]) -> Judged:
        """By the best of its golds; an error only counts where no other gold is met."""
        best = max(verdicts, key=lambda v: v.score if v.error is None else 0.0)
        low, high = case.bounds
        failed = next((v for v in verdicts if v.error is not None), None)
        if failed is not None and not (best.error is None and case.equal and best.score >= low):
            return Judged(case, failed, "timeout" if self.service.is_timeout(failed) else "error")
        if low <= best.score <= high:
            return Judged(case, best, "agree")
        return Judged(case, best, "false_positive" if best.score > high else "false_negative")


def gold_of(verifier: str, folder: Path | None = None) -> list[Case]:
    """The GOLD of a verifier's module, which this imports. Raises ConfigError where it has none or does not load."""
    resolve.check(verifier, "verifier", folder)
    try:
        gold = resolve.load(verifier, folder).gold
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # a user's module
        raise ConfigError(f"verifier '{verifier}' cannot be loaded: {type(error).__name__}: {error}") from error
    if not gold:
        raise ConfigError(
            f"verifier '{verifier}' has no GOLD; add some Case(pred, gold, equal) or name --cases FILE.jsonl"
        )
    return gold


def _key(variant: Mapping[str, Any] | None) -> str:
    return json.dumps(variant or {}, sort_keys=True, default=repr)
