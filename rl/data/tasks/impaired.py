"""Impaired hearing: noise over a clip, and an external recogniser that is wrong by a dial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from rl.audio import encode, waveform
from rl.config import ConfigError, build
from rl.data.rows import rank
from rl.data.tasks.questions import Question, check_share
from rl.types import Clip, Prompt

MOST_NOISE_DB = 60.0
"""Bound of a signal-to-noise ratio, dB, on both sides."""


@dataclass(frozen=True, slots=True)
class Misheard:
    """A made-up external recogniser, which knows the right answer and says another one by chance or to certain voices."""

    errors: float = 0.0
    """Share of the transcripts that are wrong, at random: no sound tells which."""
    always_wrong: tuple[str, ...] = ()
    """Values of what is known of a clip, such as speakers, on which it is always wrong."""

    @classmethod
    def build(cls, values: Mapping[str, object], place: str) -> Misheard:
        """Build it from a recipe's mapping. Raises ConfigError."""
        misheard = build(cls, {**values}, place)
        check_share(misheard.errors, f"{place}.errors")
        return misheard

    def hear(self, question: Question) -> str:
        """Return the transcript of a question's clips: the answer, or the answer with one word of it replaced by another that
        the choices have; nothing where there is none. The same question is always heard alike, and what is wrong at a low dial
        is wrong at a higher one."""
        names = {str(value) for attributes in question.attributes for value in attributes.values()}
        if names.isdisjoint(self.always_wrong) and rank(f"misheard/{question.id}") >= self.errors:
            return question.answer
        random = Random(f"misheard/{question.id}")
        words = question.answer.split()
        place = random.randrange(len(words))
        vocabulary = sorted({word for choice in question.choices for word in choice.split()} - {words[place]})
        if not vocabulary:
            return ""
        words[place] = random.choice(vocabulary)
        return " ".join(words)


def check_noise(levels: Sequence[float], place: str) -> None:
    """Raise ConfigError for signal-to-noise ratios that are none."""
    for level in levels:
        if not abs(level) <= MOST_NOISE_DB:
            raise ConfigError(f"{place}: {level} is no ratio in dB; use -{MOST_NOISE_DB:g} to {MOST_NOISE_DB:g}")
    if not levels:
        raise ConfigError(f"{place}: empty; name ratios in dB, such as [20, 0], or remove it")


def draw_noise(levels: Sequence[float], id: str) -> float:
    """Return the signal-to-noise ratio of the question `id`, one of `levels`, each equally often."""
    return levels[int(rank(f"noise/{id}") * len(levels))]


def add_noise(clip: Clip, snr_db: float, seed: str) -> Clip:
    """Return the clip under white noise at the ratio of the mean powers, no louder than full scale."""
    import numpy as np

    samples = waveform(clip).astype(np.float64)
    power = float(np.mean(samples**2))
    # The 48 bits of a rank as a whole number: a seed that depends on the text alone.
    random = np.random.default_rng(int(rank(seed) * 2**48))
    noisy = samples + random.normal(0.0, (power / 10 ** (snr_db / 10)) ** 0.5, len(samples))
    # Louder clips are scaled down, noise and voice alike, so that no peak is cut.
    noisy /= max(1.0, float(np.abs(noisy).max(initial=0.0)) / 0.99)
    return Clip(path=clip.path, data=encode(noisy.astype(np.float32)))


def impair(prompt: Prompt, question: Question, noise_db: Sequence[float] | None, misheard: Misheard | None) -> Prompt:
    """Return the prompt with noise over its clips, and with what a made-up recogniser has heard; as it is without either."""
    fields: dict[str, object] = dict(prompt.fields)
    clips = (*prompt.clips, *prompt.later)
    if noise_db is not None:
        level = draw_noise(noise_db, question.id)
        fields["noise_db"] = level
        clips = tuple(add_noise(clip, level, f"{question.id}/{i}") for i, clip in enumerate(clips))
    if misheard is not None:
        fields["external"] = misheard.hear(question)
    return replace(prompt, clips=clips[: len(prompt.clips)], later=clips[len(prompt.clips) :], fields=fields)
