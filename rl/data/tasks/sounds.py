"""Listening without a file: questions on made sounds whose pitch, loudness, length, brightness and rhythm are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count as numbers
from random import Random

from rl.data.rows import SPLITS, check_split, split_of
from rl.data.tasks.questions import (
    COMPARISONS,
    QUANTITIES,
    Chains,
    Question,
    check_kinds,
    check_share,
    comparison,
    in_turn,
    prompt,
    swapped,
)
from rl.data.tasks.random_sounds import (
    DURATIONS,
    HARMONICS,
    HIGH,
    LEVELS,
    LOW,
    PATTERNS,
    PITCHES,
    RATES,
    Drawn,
    beats,
    noise,
    pattern,
    sweep,
    tone,
)
from rl.data.tasks.synthesis import clip
from rl.types import Prompt


def _hertz(value: float) -> str:
    return f"{value:.0f}Hz"


def _shown(drawn: Drawn, name: str) -> str:
    """The quantity's place on the grid, as chains and labels name it."""
    return _hertz(drawn.grid[name]) if name == "pitch" else QUANTITIES[name].show(drawn.grid[name])


# --- questions -----------------------------------------------------------------------------------------------------


def _one(kind: str, text: str, answer: str, chain: str, choices: Sequence[str], drawn: Drawn, what: str) -> Question:
    """A question on one clip; `what` is the class of sound for the labels."""
    bins = {f"{name}_bin": _shown(drawn, name) for name in QUANTITIES if name in drawn.grid}
    labels = {"sound": what, **bins}
    if "beats" in drawn.grid:
        labels["beats"] = str(drawn.grid["beats"])
    if what == "sweep":
        labels["direction"] = "rising" if drawn.grid["to"] > drawn.grid["from"] else "falling"
    if what == "tones":
        labels["pattern"] = " ".join("low" if hertz in LOW else "high" for hertz in drawn.grid.values())
    return Question(f"{kind}/{drawn.key}", kind, text, answer, chain, tuple(choices), (drawn.made,), labels)


def _ask_pitch(random: Random, n: int) -> tuple[list[Drawn], Question]:
    answer = ("low", "high")[n % 2]
    drawn = tone(random, LOW if answer == "low" else HIGH)
    chain = f"{_shown(drawn, 'pitch')} {answer}"
    return [drawn], _one("pitch", "low or high?", answer, chain, ("low", "high"), drawn, "tone")


def _ask_loudness(random: Random, n: int) -> tuple[list[Drawn], Question]:
    answer = ("soft", "loud")[n % 2]
    drawn = tone(random, levels=LEVELS[:2] if answer == "soft" else LEVELS[3:])
    chain = f"{_shown(drawn, 'loudness')} {answer}"
    return [drawn], _one("loudness", "loud or soft?", answer, chain, ("soft", "loud"), drawn, "tone")


def _ask_direction(random: Random, n: int) -> tuple[list[Drawn], Question]:
    answer = ("rising", "falling")[n % 2]
    drawn = sweep(random, answer == "rising")
    chain = f"{_hertz(drawn.grid['from'])} to {_hertz(drawn.grid['to'])} {answer}"
    return [drawn], _one("direction", "rising or falling?", answer, chain, ("rising", "falling"), drawn, "sweep")


def _ask_beats(random: Random, n: int) -> tuple[list[Drawn], Question]:
    count = n % 5 + 1
    drawn = beats(random, random.uniform(5, 8), count)
    del drawn.grid["rate"]
    chain = " ".join(map(str, range(1, count + 1)))
    return [drawn], _one("beats", "how many beats?", str(count), chain, "12345", drawn, "beats")


def _ask_pattern(random: Random, n: int) -> tuple[list[Drawn], Question]:
    answer = PATTERNS[n % len(PATTERNS)]
    drawn = pattern(random, answer)
    chain = " ".join(map(_hertz, drawn.grid.values()))
    return [drawn], _one("pattern", "which tones?", answer, chain, PATTERNS, drawn, "tones")


WHAT = ("tone", "sweep", "noise", "beats", "tones")


def _ask_sound(random: Random, n: int, kind: str = "sound") -> tuple[list[Drawn], Question]:
    what = WHAT[n % len(WHAT)]
    if what == "tone":
        drawn = tone(random, levels=LEVELS, durations=DURATIONS, harmonics=HARMONICS)
        heard = f"steady {_hertz(drawn.grid['pitch'])}"
    elif what == "sweep":
        drawn = sweep(random, random.random() < 0.5)
        heard = f"{_hertz(drawn.grid['from'])} to {_hertz(drawn.grid['to'])}"
    elif what == "noise":
        drawn, heard = noise(random), "no pitch"
    elif what == "beats":
        drawn = beats(random, random.choice(RATES))
        heard = f"{drawn.grid['beats']:.0f} bursts"
    else:
        drawn = pattern(random, random.choice(PATTERNS))
        heard = " ".join(map(_hertz, drawn.grid.values()))
    return [drawn], _one(kind, "what is it?", what, f"{heard} {what}", WHAT, drawn, what)


def _ask_labels(random: Random, n: int) -> tuple[list[Drawn], Question]:
    return _ask_sound(random, n, "labels")


def _compare(kind: str) -> Callable[[Random, int], tuple[list[Drawn], Question]]:
    quantity = COMPARISONS[kind]

    def pair(random: Random) -> list[Drawn]:
        if quantity == "rate":
            return [beats(random, rate) for rate in random.sample(RATES, 2)]
        if quantity == "brightness":
            pitch = random.choice(LOW)
            return [tone(random, (pitch,), harmonics=(h,)) for h in random.sample(HARMONICS, 2)]
        pool = {"pitch": ("pitches", PITCHES), "loudness": ("levels", LEVELS), "duration": ("durations", DURATIONS)}
        name, values = pool[quantity]
        return [tone(random, **{name: (value,)}) for value in random.sample(values, 2)]  # type: ignore[arg-type]

    def ask(random: Random, n: int) -> tuple[list[Drawn], Question]:
        clips = pair(random)
        if swapped(n, clips[0].made[quantity], clips[1].made[quantity]):
            clips.reverse()
        made = [drawn.made[quantity] for drawn in clips]
        named = [_shown(drawn, quantity) for drawn in clips]
        return clips, comparison(kind, n, [drawn.key for drawn in clips], made, named)

    return ask


KINDS: dict[str, Callable[[Random, int], tuple[list[Drawn], Question]]] = {
    "pitch": _ask_pitch,
    **{kind: _compare(kind) for kind in COMPARISONS},
    "loudness": _ask_loudness,
    "direction": _ask_direction,
    "beats": _ask_beats,
    "pattern": _ask_pattern,
    "sound": _ask_sound,
    "labels": _ask_labels,
}
"""Kind -> the clips and the question of its nth prompt; answers are right in turn."""


def sounds(
    split: str | None,
    kinds: list[str] | None = None,
    size: int = 5000,
    seed: int = 0,
    multiple_choice: float = 0.0,
    chains: dict[str, float] | None = None,
    ask: str | None = None,
) -> Iterator[Prompt]:
    """Made sounds of known pitch, loudness, length, brightness, rhythm and order; no files needed.

    `kinds` (default: all but `labels`, which is `sound` for encoder pretraining) come in turn, `size` prompts for all
    splits together (80 % train, 10 % validation, 10 % test, by a hash of the sounds, so that none crosses splits when
    the settings change). Every answer of a kind is right equally often. A share `multiple_choice` asks for the letter
    of an option; `chains` are the shares of what demonstrations reason with and `ask` ends the questions of one of them
    (see chains.py). Prompts on one clip have `fields["labels"]`: what heads of an encoder can be trained on, a label for
    each that applies. Raises ValueError."""
    check_split(split, SPLITS, "sounds")
    names = _names(kinds)
    check_share(multiple_choice, "sounds.multiple_choice")
    manners = Chains.of(chains, ask, "sounds")
    for part in SPLITS if split is None else (split,):
        yield from in_turn(
            _prompts(name, part, per_kind, seed, multiple_choice, manners)
            for name, per_kind in zip(names, _shares(size, len(names), part), strict=True)
        )


def count(split: str | None, kinds: list[str] | None = None, size: int = 5000, **_: object) -> int:
    """How many prompts `sounds` makes."""
    check_split(split, SPLITS, "sounds")
    names = _names(kinds)
    return sum(sum(_shares(size, len(names), part)) for part in (SPLITS if split is None else (split,)))


def _names(kinds: list[str] | None) -> list[str]:
    check_kinds(kinds or (), KINDS, "sounds")
    return [kind for kind in KINDS if kind != "labels"] if kinds is None else kinds


def _shares(size: int, kinds: int, split: str) -> list[int]:
    """How many prompts each kind has in the split."""
    low = max((bound for bound in SPLITS.values() if bound < SPLITS[split]), default=0.0)
    whole = round(size * (SPLITS[split] - low))
    return [whole // kinds + (i < whole % kinds) for i in range(kinds)]


def _prompts(kind: str, split: str, size: int, seed: int, multiple_choice: float, manners: Chains) -> Iterator[Prompt]:
    for n in range(size):
        clips, question = next(
            (clips, question)
            for attempt in numbers()
            for clips, question in [KINDS[kind](Random(f"{seed}/{kind}/{n}/{attempt}"), n)]
            if split_of("/".join(sorted(drawn.key for drawn in clips))) == split
        )
        yield prompt(question, [clip(*drawn.sounds) for drawn in clips], n, multiple_choice, manners)
