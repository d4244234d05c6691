"""A verifier to start from: it runs, and its cases pass."""

from __future__ import annotations

import json
from pathlib import Path

from rewards.resolve import list_verifiers
from rl.config import ConfigError

MODULE = '''"""One sentence: what {name} judges."""

from __future__ import annotations

from rewards.verifiers import Case
from rl.types import Prompt, Rollout, Verdict


def verify(prompt: Prompt, rollout: Rollout, *, ignore_case: bool = True) -> Verdict:
    """1.0 where the answer is the gold. `rollout.reasoning` is the chain, `rollout.response` what stands after it,
    `prompt.fields` further columns of the data, `prompt.clips` its audio. May raise, hang or exit: that is an error of
    this sample, never a score of 0."""
    if prompt.answer is None:
        raise ValueError(f"prompt '{{prompt.id}}' has no answer to compare with")
    said, gold = rollout.response.strip(), prompt.answer.strip()
    if ignore_case:
        said, gold = said.casefold(), gold.casefold()
    right = said == gold
    # Anything measured on the way may be named: it is logged as NAME/length.
    return Verdict(score=float(right), parts={{"length": len(said)}}, reason="" if right else f"read '{{said[:80]}}'")


# What it must get right before a run starts: right answers score 1.0, the others less.
GOLD = [
    Case("<think>The sound rises.</think>rising", "rising"),
    Case("Rising", "rising"),
    Case("falling", "rising", equal=False),
    Case("rising or falling", "rising", equal=False),
    Case("<think>rising", "rising", equal=False),
    Case("", "rising", equal=False),
]
'''
CASES = (
    {"pred": "<think>It goes up.</think>rising", "gold": "rising", "equal": True},
    {"pred": "falling", "gold": ["rising", "steady"], "equal": False, "cls": "list", "prompt": "Which way?"},
)


def write(name: str, folder: Path) -> tuple[Path, Path]:
    """Writes `name.py` and `name.jsonl`, a module and labelled cases. Raises ConfigError rather than overwrite."""
    name = name.removesuffix(".py")
    if not name.isidentifier():
        raise ConfigError(f"'{name}' is no name for a module; use letters, digits and _")
    if name in list_verifiers():
        raise ConfigError(f"'{name}' is a verifier of the library; choose another name")
    module, cases = folder / f"{name}.py", folder / f"{name}.jsonl"
    for path in (module, cases):
        if path.exists():
            raise ConfigError(f"{path}: is there already; choose another name or remove it")
    module.write_text(MODULE.format(name=name))
    cases.write_text("".join(json.dumps(case) + "\n" for case in CASES))
    return module, cases
