"""A template to start a verifier from: it runs, and its cases pass."""

from __future__ import annotations

import importlib.util
import json
import keyword
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from rewards.resolve import list_verifiers
from rl.config import ConfigError, shorten

# A format string: braces of the code are doubled.
MODULE = '''"""One sentence: what {name} judges."""

from __future__ import annotations

from rewards.verifiers import Case
from rl.types import Prompt, Rollout, Verdict

# An answer on which this takes longer than `deadline_s` seconds of CPU time scores 0, for its time depends on the answer
# alone. Write "error" if it may be slow for other reasons: such samples are then kept out of the gradient.
ON_TIMEOUT = "zero"


def verify(prompt: Prompt, rollout: Rollout, *, ignore_case: bool = True) -> Verdict:
    """Score 1.0 where the answer is the gold, else 0.0. `rollout.reasoning` is the chain of thought, `rollout.response` the
    text after it, `prompt.fields` further columns of the data, `prompt.clips` its audio. It may raise, wait or exit: that
    makes this sample an error, never a score of 0."""
    if prompt.answer is None:
        raise ValueError(f"prompt '{{prompt.id}}' has no answer to compare with")
    answer, gold = rollout.response.strip(), prompt.answer.strip()
    if ignore_case:
        answer, gold = answer.casefold(), gold.casefold()
    right = answer == gold
    # Each of `parts` is logged, here as NAME/length where the recipe names this part of the reward NAME.
    return Verdict(score=float(right), parts={{"length": len(answer)}}, reason="" if right else f"read '{{answer[:80]}}'")


# Cases that it must judge right before a run starts: right answers score 1.0, the others less.
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


LONGEST_NAME = 60
"""Most characters of a verifier's name, which names its parts in metrics too."""


def _owner_of_module(name: str) -> str:
    """Return whose module of that name is imported elsewhere than from this folder, in words; empty where there is none."""
    if name in sys.stdlib_module_names:
        return "a module of Python's own"
    folders = [path for path in sys.path if Path(path or ".").resolve() != Path.cwd().resolve()]
    # By the finder of paths alone: nothing is imported. Other finders serve editable installs.
    spec = PathFinder.find_spec(name, folders) or importlib.util.find_spec(name)
    here = Path.cwd().resolve()
    if spec is None or (spec.origin and Path(spec.origin).resolve().parent == here):
        return ""
    return "an installed module"


def write_template(name: str, folder: Path) -> tuple[Path, Path]:
    """Write `name.py`, a verifier, and `name.jsonl`, labelled cases, and return their paths. Raises ConfigError for a name
    that is no module's, a library verifier's, or a file's that exists."""
    name = name.removesuffix(".py")
    if not name.isidentifier() or name.startswith("__") or len(name) > LONGEST_NAME:
        fix = f"use at most {LONGEST_NAME} letters, digits and _, of which it begins with a letter"
        raise ConfigError(f"{shorten(name)} is no name for a module; {fix}")
    if keyword.iskeyword(name):
        raise ConfigError(f"'{name}' is a word of Python's own and no name for a module; choose another name")
    if name in list_verifiers():
        raise ConfigError(f"'{name}' is a verifier of the library; choose another name")
    module, cases = folder / f"{name}.py", folder / f"{name}.jsonl"
    for path in (module, cases):
        if path.exists():
            raise ConfigError(f"{path}: exists already; choose another name or remove it")
    if owner := _owner_of_module(name):
        raise ConfigError(f"'{name}' is the name of {owner}, which {name}.py would stand in for; choose another name")
    try:
        module.write_text(MODULE.format(name=name))
        cases.write_text("".join(json.dumps(case) + "\n" for case in CASES))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written to ({error.strerror}); work in another folder") from error
    return module, cases
