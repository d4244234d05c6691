"""Cost of one paced answer in tokens and seconds, and whether it thought as fast as it spoke."""

from __future__ import annotations

from dataclasses import dataclass, field

from rl.stages.paced_answer import Pace, Speech

SPEECH_RATE = 6.25
"""Tokens of text that are spoken in a second: 20 of them have 80 tokens of sound in the paper, which play at 25 a second."""


@dataclass(slots=True)
class Playback:
    """A listener's clock: each token plays as soon as it is there and the one before it has ended."""

    rate: float
    """Tokens in a second."""
    end: float = -1.0
    """Time at which what was said has been played; below 0 before the first token."""
    stalled: float = 0.0
    """Seconds of silence between two tokens of the answer."""

    def add(self, now: float, tokens: int) -> None:
        """Count tokens that have come at the time `now`: silence until then, and the time at which they end."""
        if self.end < 0:
            self.end = now
        self.stalled += max(0.0, now - self.end)
        self.end = max(self.end, now) + tokens / self.rate


@dataclass(slots=True)
class Times:
    """Times of one answer, by the clock of who serves it; below 0 for what has not happened."""

    question_s: float
    """Time at which the question came."""
    begun: float = -1.0
    """Time at which an engine was given it."""
    first_thought: float = -1.0
    last_thought: float = -1.0
    first_word: float = -1.0
    thoughts: int = 0
    """Tokens that the thinking decoder has written, with those of the tag that closes the chain."""
    playback: Playback = field(default_factory=lambda: Playback(SPEECH_RATE))
    cached: int = 0
    """Tokens of the prompts of all turns that the engine had at hand."""

    def think(self, now: float, tokens: int) -> None:
        """Count so many tokens of the chain, which have come at the time `now`."""
        if self.first_thought < 0:
            self.first_thought = now
        self.last_thought, self.thoughts = now, self.thoughts + tokens

    def say(self, now: float, tokens: int) -> None:
        """Count so many tokens of the answer, which have come at the time `now`."""
        if self.first_word < 0:
            self.first_word = now
        self.playback.add(now, tokens)

    @property
    def thinking_rate(self) -> float | None:
        """Tokens of the chain in a second, from its first one on; None of a chain too short to tell."""
        seconds = self.last_thought - self.first_thought
        return (self.thoughts - 1) / seconds if self.thoughts > 1 and seconds > 0 else None


def real_time_factor(pace: Pace, thinking_rate: float | None, speech_rate: float) -> float | None:
    """Return the rate at which the chain is written, divided by the rate that speaking needs; from 1 on the thoughts
    keep up. Speaking needs `think` tokens of the chain while `speak` tokens are played: 80 in 20 / 6.25 = 3.2 s, hence
    25 a second."""
    if thinking_rate is None or pace.mode == "wo":
        return None
    return thinking_rate / (pace.think * speech_rate / pace.speak)


def figures_of(pace: Pace, speech: Speech, chain: int, times: Times) -> dict[str, object]:
    """Return what the last event of an answer tells, `chain` tokens of which were thought."""
    rate = times.thinking_rate
    factor = real_time_factor(pace, rate, times.playback.rate)
    has_spoken = times.first_word >= 0
    return {
        "mode": pace.mode,
        "think": pace.think,
        "speak": pace.speak,
        "first_token_s": round(times.first_word - times.question_s, 4) if has_spoken else None,
        "queue_s": round(times.begun - times.question_s, 4),
        "tokens_before": pace.tokens_before(chain),
        "thought_tokens": chain,
        "answer_tokens": len(speech.tokens),
        "turns": speech.turns,
        "prefill_tokens": speech.prefill,
        "cached_tokens": times.cached,
        "thought_tokens_per_s": None if rate is None else round(rate, 2),
        "real_time_factor": None if factor is None else round(factor, 3),
        "stall_s": round(times.playback.stalled, 3),
    }
