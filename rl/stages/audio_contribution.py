"""Keeps what must be heard: a prompt that is right without its sound more often than chance is no question about the sound
(audio contribution, AudioMCQ, arXiv 2509.21060).

The test is a one-sided binomial one: of n answers without the sound, c are right; chance is one over the number of options,
or a bound that the recipe states for free answers. The prompt is dropped where so many would come by chance in at most
`level` of cases. So at most that share of prompts that must be heard is dropped; how many of the others are found depends on
n, and `rl check` says how many it takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewards.choices.options import read_options
from rl.config import ConfigError
from rl.types import Prompt

GIVEN_AWAY = 0.9
"""Accuracy without the sound of a question that its text gives away, for which the power is told."""
WANTED_POWER = 0.95
"""Share of such questions that should be found."""
MOST_SAMPLES = 500
"""Samples up to which `samples_needed` looks, and that a control's own `samples` may be."""


@dataclass(frozen=True)
class ControlTest:
    """Settings of one control of `curate`."""

    samples: int | None = None
    """Answers of each prompt without its sound; default: the stage's `samples`."""
    level: float = 0.05
    """Share of prompts that must be heard and may be dropped by chance."""
    guess: float = 0.1
    """Chance of a right answer without the sound where a prompt has no options. Yes or no: 0.5."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for values out of range."""
        if self.samples is not None and not 1 <= self.samples <= MOST_SAMPLES:
            raise ConfigError(f"{place}.samples: from 1 to {MOST_SAMPLES:,}; got {self.samples}")
        if not 0 < self.level < 1:
            raise ConfigError(f"{place}.level: a share between 0 and 1; got {self.level:g}")
        if not 0 < self.guess < 1:
            raise ConfigError(f"{place}.guess: a chance between 0 and 1; got {self.guess:g}")

    def chance(self, prompt: Prompt) -> float:
        """Return the chance of a right answer by guessing."""
        count = count_options(prompt)
        return 1 / count if count else self.guess


def count_options(prompt: Prompt) -> int:
    """Return the number of a prompt's options, 0 without any."""
    options = prompt.fields.get("options", prompt.fields.get("choices"))
    count = (
        len(read_options(options)) if isinstance(options, Mapping | Sequence) and not isinstance(options, str) else 0
    )
    # One option is no choice: with a chance of 1 no answer could be evidence.
    return count if count > 1 else 0


def exactly(right: int, samples: int, chance: float) -> float:
    """Return the probability that `right` of `samples` answers are right where each is by `chance`."""
    wrong = samples - right
    if samples <= MOST_SAMPLES:
        return math.comb(samples, right) * chance**right * (1 - chance) ** wrong
    if chance == 1:
        return float(not wrong)
    # By logarithms: the number of ways to choose 550 of 1,100 is no float any more.
    ways = math.lgamma(samples + 1) - math.lgamma(right + 1) - math.lgamma(wrong + 1)
    return math.exp(ways + right * math.log(chance) + wrong * math.log1p(-chance))


def tail(right: int, samples: int, chance: float) -> float:
    """Return the probability that at least `right` of `samples` answers are right where each is by `chance`."""
    return sum(exactly(k, samples, chance) for k in range(right, samples + 1))


def fewest_to_drop(samples: int, chance: float, level: float) -> int | None:
    """Return the fewest right answers of `samples` that chance explains in at most `level` of cases; None where not even all
    right do."""
    fewest, probability = None, 0.0
    for right in range(samples, -1, -1):  # from the top, so that the tail grows term by term
        probability += exactly(right, samples, chance)
        if probability > level:
            break
        fewest = right
    return fewest


def power(samples: int, chance: float, level: float, accuracy: float) -> float:
    """Return the probability that a prompt is dropped which is right without its sound at that accuracy."""
    fewest = fewest_to_drop(samples, chance, level)
    return 0.0 if fewest is None else tail(fewest, samples, accuracy)


def samples_needed(chance: float, level: float) -> int | None:
    """Return the fewest samples with which WANTED_POWER of the questions are found that are right without the sound in
    GIVEN_AWAY of cases; None where MOST_SAMPLES do not do. A few more may find fewer: where one more right answer is
    asked for, the power falls."""
    # Then guessing is as good as knowing, and no number of samples tells them apart.
    if chance >= GIVEN_AWAY:
        return None
    for samples in range(1, MOST_SAMPLES + 1):
        if power(samples, chance, level, GIVEN_AWAY) >= WANTED_POWER:
            return samples
    return None


def describe_power(test: ControlTest, samples: int, place: str) -> list[str]:
    """Return a line for `rl check`: from how many right answers on a prompt is dropped, what is found so, and how many samples
    it takes to find nearly all."""
    cases = [("2 options", 0.5), ("4 options", 0.25), ("no options", test.guess)]
    words: list[str] = []
    for name, chance in cases:
        fewest = fewest_to_drop(samples, chance, test.level)
        enough_samples = samples_needed(chance, test.level)
        share_found = power(samples, chance, test.level, GIVEN_AWAY)
        drop = f"from {fewest} of {samples} right on" if fewest is not None else f"never, {samples} samples are too few"
        enough = (
            f"; {enough_samples} samples find {WANTED_POWER:.0%}"
            if enough_samples and share_found < WANTED_POWER
            else ""
        )
        words.append(f"with {name} {drop} (finds {share_found:.0%} of what the text gives away{enough})")
    return [
        f"{place}: at {test.level:.0%} a prompt is dropped {', '.join(words)}; given away: right without the sound "
        f"{GIVEN_AWAY:.0%} of the time"
    ]
