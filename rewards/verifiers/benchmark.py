"""The rule of a public set, or what stands in for it, and beside it a strict reading of the same answer.

Prompts of `source: benchmark` know their set. The score is that of `rule`; the parts hold both: `official`, `strict`, and
`counted`, which is 0 where the set's own code leaves the answer out of its mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from rewards.contract import Case
from rewards.verifiers import choice, math, numeric, text
from rl.benchmarks.benchmark import Benchmark
from rl.benchmarks.sets import BENCHMARKS, find_benchmark
from rl.config import ConfigError
from rl.types import Prompt, Rollout, Verdict


def verify(prompt: Prompt, rollout: Rollout, *, rule: Literal["official", "strict"] = "official") -> Verdict:
    """Score 1.0 where the response is right by the set's own rule (`official`), or by ours (`strict`): the one option that it
    chooses by letter or text, its one number, its formula or its text, each answer counted.

    Raises ValueError for a prompt of no public set, or of one that has no such rule.
    """
    name = str(prompt.fields.get("benchmark", ""))
    if name not in BENCHMARKS:
        raise ValueError(f"prompt '{prompt.id}' is of no public set; read it with `source: benchmark`")
    benchmark = find_benchmark(name, "benchmark")
    strict = _read_strictly(benchmark, prompt, rollout)
    parts = {"strict": strict.score}
    if benchmark.official is not None:
        mark = benchmark.official(prompt, rollout.response)
        parts |= {"official": mark.score, "counted": float(mark.is_counted)}
    if rule not in parts:
        raise ValueError(
            f"{name} has no rule '{rule}' without a judge; use one of {', '.join(benchmark.rules) or 'none'}"
        )
    reason = "" if parts.get("official", strict.score) == strict.score else "official and strict rule differ"
    return Verdict(parts[rule], parts, reason=reason or strict.reason, read=strict.read)


def _read_strictly(benchmark: Benchmark, prompt: Prompt, rollout: Rollout) -> Verdict:
    """Return the verdict of the set's strict verifier. Raises ValueError for a gold that it cannot compare with."""
    verifiers: dict[str, Callable[[Prompt, Rollout], Verdict]] = {
        "choice": choice.verify,
        "numeric": numeric.verify,
        "math": math.verify,
        "text": text.verify,
    }
    if prompt.answer is None:
        raise ValueError(f"prompt '{prompt.id}' has no answer to compare with; this set needs a judge")
    # A worked solution ends with its answer: "… #### 42".
    bare_prompt = replace(prompt, answer=prompt.answer.rpartition("####")[2].strip() or prompt.answer)
    return verifiers[benchmark.strict](bare_prompt, rollout)


def require_rule(name: str, rule: str, place: str) -> None:
    """Raise ConfigError where a set has no such rule without a judge."""
    benchmark = find_benchmark(name, place)
    if rule not in benchmark.rules:
        fix = f"use {' or '.join(benchmark.rules)}" if benchmark.rules else "name a judge"
        raise ConfigError(f"{place}: {name} has no rule '{rule}'; {fix}")


_MMAU = {"benchmark": "mmau", "options": ["a man", "a woman", "a dog"]}
_MMSU = {"benchmark": "mmsu", "options": ["laugh", "burp", "cough", "yawn"]}
_STRICT = {"rule": "strict"}
GOLD = [
    Case("a dog", "a dog", fields=_MMAU),
    Case("C", "a dog", equal=False, fields=_MMAU, args={"rule": "official"}),
    Case("C", "a dog", fields=_MMAU, args=_STRICT),
    Case("It is a dog, not a man.", "a dog", equal=False, fields=_MMAU, args={"rule": "official"}),
    Case("It is a dog, not a man.", "a dog", fields=_MMAU, args=_STRICT),
    Case("B", "burp", fields=_MMSU),
    Case("Because of the burp.", "burp", fields=_MMSU, args={"rule": "official"}),
    Case("The sum is 12.\n#### 1,200", "1200", fields={"benchmark": "gsm8k"}),
    Case("1200", "1200", equal=False, fields={"benchmark": "gsm8k"}, args={"rule": "official"}),
    Case("1200", "1200", fields={"benchmark": "gsm8k"}, args=_STRICT),
    Case("Yes, he does.", "Yes", fields={"benchmark": "big_bench_audio"}, args={"rule": "official"}),
    Case("So the answer is invalid.", "invalid", fields={"benchmark": "bbh"}, args={"rule": "official"}),
]
