"""Chooses the reward that fits a data file, and what else the recipe's text needs for it."""

from __future__ import annotations

import re

from rl.config import ConfigError, did_you_mean
from rl.starter.columns import CODE_COLUMNS, TEST_COLUMNS
from rl.starter.guesses import DataGuess

REWARDS = {
    "math": "numbers and formulas, equal in value",
    "choice": "the letter or the text of one option",
    "text": "the same text, word for word",
    "code": "Python programs, by their tests, in a sandbox",
    "judge": "a model that marks answers by a rubric",
}
"""Rewards that `rl init` writes, beside a file of the user's."""
NUMBER = r"[-+−]?[\s$€£]*[\d.,\s/^%°]*\d[\d.,\s/%°]*"
FORMULA = r".*[\\^=√π{}].*"
LETTER = r"\(?[A-Ja-j][).]?"


def guess_reward(data: DataGuess) -> tuple[str, str]:
    """Return (reward, why it was chosen) for what a file holds; ("", why) where nothing tells. A `:` in a reward names a
    file of the user's."""
    tests = [c.name for c in data.columns if c.name in TEST_COLUMNS]
    if tests:
        return "code", f"column '{tests[0]}' holds tests"
    answer = data.column("answer")
    if "options" in data.fields:
        return "choice", f"column '{data.fields['options']}' holds options"
    if answer is None:
        return "", "no column holds answers"
    if _share(data, LETTER) > 0.9:
        return "choice", f"column '{answer.name}' holds letters"
    if _share(data, NUMBER) > 0.6 or _share(data, NUMBER) + _share(data, FORMULA) > 0.8:
        return "math", f"column '{answer.name}' holds numbers or formulas"
    if sum(map(len, data.answers)) <= 80 * len(data.answers):
        return "text", f"column '{answer.name}' holds short texts"
    return "judge", f"column '{answer.name}' holds texts too long to be compared word for word"


def _share(data: DataGuess, pattern: str) -> float:
    return sum(re.fullmatch(pattern, answer) is not None for answer in data.answers) / max(len(data.answers), 1)


def check_reward(reward: str, data: DataGuess) -> None:
    """Raise ConfigError for a reward that `rl init` does not know, or that the file has nothing for."""
    if ":" in reward:
        return
    if reward.endswith(".py"):
        raise ConfigError(f"--reward: name the function too: {reward}:verify")
    if reward not in REWARDS:
        hint = did_you_mean(reward, REWARDS)
        raise ConfigError(f"--reward: no reward '{reward}'{hint}; choose of {', '.join(REWARDS)} or FILE.py:FUNCTION")
    if reward in ("math", "choice", "text") and "answer" not in data.fields:
        names = ", ".join(c.name for c in data.columns)
        fix = "name the column with --fields answer=COLUMN, or choose --reward judge or a file of yours"
        raise ConfigError(f"{data.path}: no column holds answers for '{reward}' (columns: {names}); {fix}")
    if reward == "code" and not any(c.name in CODE_COLUMNS for c in data.columns):
        raise ConfigError(
            f"{data.path}: no column holds tests for 'code' ({', '.join(TEST_COLUMNS)}); name another reward"
        )
