"""Asks questions about synthesised sounds, whose pitch, loudness, length, brightness and rhythm are known; no files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from random import Random

from rl.data.rows import SPLITS, check_split, split_of
from rl.data.tasks.questions import (
    COMPARISONS,
    QUANTITIES,
    Chains,
    Question,
    check_kinds,
    check_share,
    interleave,
    make_comparison,
    make_prompt,
    must_swap,
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
    DrawnClip,
    beats,
    noise,
    pattern,
    sweep,
    tone,
)
from rl.data.tasks.synthesis import make_clip
from rl.types import Prompt

Draw = tuple[list[DrawnClip], Question]
"""The clips of a prompt and its question."""


def _hertz(value: float) -> str:
    return f"{value:.0f}Hz"


def _show(clip: DrawnClip, quantity: str) -> str:
    """Return the quantity's value on the grid, as chains and labels name it."""
    # The grid is coarse already, so its pitches are named to the hertz and not rounded as measured ones are.
    return _hertz(clip.grid[quantity]) if quantity == "pitch" else QUANTITIES[quantity].show(clip.grid[quantity])


def _describe(clip: DrawnClip) -> str:
    """Return what is heard in the clip, in words: `from 110Hz, to 740Hz, loudness -22dB, duration 0.45s`."""
    texts: list[str] = []
    for name, value in clip.grid.items():
        if name in QUANTITIES:
            texts.append(f"{name} {_show(clip, name)}")
        else:
            texts.append(f"{name} {value:g}" if name == "beats" else f"{name} {_hertz(value)}")
    return ", ".join(texts)


# --- questions -----------------------------------------------------------------------------------------------------


def _ask(
    kind: str, text: str, answer: str, chain: str, choices: Sequence[str], clip: DrawnClip, sound_class: str
) -> Draw:
    """Return a question on one clip; `sound_class` is for its labels."""
    bins = {f"{name}_bin": _show(clip, name) for name in QUANTITIES if name in clip.grid}
    labels = {"sound": sound_class, **bins}
    if "beats" in clip.grid:
        labels["beats"] = str(clip.grid["beats"])
    if sound_class == "sweep":
        labels["direction"] = "rising" if clip.grid["to"] > clip.grid["from"] else "falling"
    if sound_class == "tones":
        labels["pattern"] = " ".join("low" if hertz in LOW else "high" for hertz in clip.grid.values())
    attributes = (clip.exact,)
    name, description = f"{kind}/{clip.key}", _describe(clip)
    return [clip], Question(name, kind, text, answer, chain, tuple(choices), attributes, labels, description)


def _ask_pitch(random: Random, n: int) -> Draw:
    answer = ("low", "high")[n % 2]
    clip = tone(random, LOW if answer == "low" else HIGH)
    chain = f"{_show(clip, 'pitch')} {answer}"
    return _ask("pitch", "low or high?", answer, chain, ("low", "high"), clip, "tone")


def _ask_loudness(random: Random, n: int) -> Draw:
    answer = ("soft", "loud")[n % 2]
    clip = tone(random, levels=LEVELS[:2] if answer == "soft" else LEVELS[3:])
    chain = f"{_show(clip, 'loudness')} {answer}"
    return _ask("loudness", "loud or soft?", answer, chain, ("soft", "loud"), clip, "tone")


def _ask_direction(random: Random, n: int) -> Draw:
    answer = ("rising", "falling")[n % 2]
    clip = sweep(random, answer == "rising")
    chain = f"{_hertz(clip.grid['from'])} to {_hertz(clip.grid['to'])} {answer}"
    return _ask("direction", "rising or falling?", answer, chain, ("rising", "falling"), clip, "sweep")


def _ask_beats(random: Random, n: int) -> Draw:
    count = n % 5 + 1
    # From 5 a second on, five beats fit into the clip's one second.
    clip = beats(random, random.uniform(5, 8), count)
    del clip.grid["rate"]  # any rate, on no grid: no label for it
    chain = " ".join(map(str, range(1, count + 1)))
    return _ask("beats", "how many beats?", str(count), chain, "12345", clip, "beats")


def _ask_pattern(random: Random, n: int) -> Draw:
    answer = PATTERNS[n % len(PATTERNS)]
    clip = pattern(random, answer)
    chain = " ".join(map(_hertz, clip.grid.values()))
    return _ask("pattern", "which tones?", answer, chain, PATTERNS, clip, "tones")


SOUND_CLASSES = ("tone", "sweep", "noise", "beats", "tones")


def _ask_sound(random: Random, n: int, kind: str = "sound") -> Draw:
    sound_class = SOUND_CLASSES[n % len(SOUND_CLASSES)]
    if sound_class == "tone":
        clip = tone(random, levels=LEVELS, durations=DURATIONS, harmonics=HARMONICS)
        features = f"steady {_hertz(clip.grid['pitch'])}"
    elif sound_class == "sweep":
        clip = sweep(random, random.random() < 0.5)
        features = f"{_hertz(clip.grid['from'])} to {_hertz(clip.grid['to'])}"
    elif sound_class == "noise":
        clip, features = noise(random), "no pitch"
    elif sound_class == "beats":
        clip = beats(random, random.choice(RATES))
        features = f"{clip.grid['beats']:.0f} bursts"
    else:
        clip = pattern(random, random.choice(PATTERNS))
        features = " ".join(map(_hertz, clip.grid.values()))
    return _ask(kind, "what is it?", sound_class, f"{features} {sound_class}", SOUND_CLASSES, clip, sound_class)


def _ask_labels(random: Random, n: int) -> Draw:
    return _ask_sound(random, n, "labels")


def _comparison_asker(kind: str) -> Callable[[Random, int], Draw]:
    quantity = COMPARISONS[kind]

    def draw_pair(random: Random) -> list[DrawnClip]:
        if quantity == "rate":
            return [beats(random, rate) for rate in random.sample(RATES, 2)]
        if quantity == "brightness":
            pitch = random.choice(LOW)  # one for both: only their partials differ
            return [tone(random, (pitch,), harmonics=(count,)) for count in random.sample(HARMONICS, 2)]
        grids = {"pitch": ("pitches", PITCHES), "loudness": ("levels", LEVELS), "duration": ("durations", DURATIONS)}
        name, values = grids[quantity]
        return [tone(random, **{name: (value,)}) for value in random.sample(values, 2)]  # type: ignore[arg-type]

    def ask(random: Random, n: int) -> Draw:
        clips = draw_pair(random)
        if must_swap(n, clips[0].exact[quantity], clips[1].exact[quantity]):
            clips.reverse()
        values = [clip.exact[quantity] for clip in clips]
        value_names = [_show(clip, quantity) for clip in clips]
        question = make_comparison(kind, n, [clip.key for clip in clips], values, value_names)
        description = "; ".join(f"{name}: {_describe(clip)}" for name, clip in zip("ab", clips, strict=True))
        return clips, replace(question, description=description)

    return ask


KINDS: dict[str, Callable[[Random, int], Draw]] = {
    "pitch": _ask_pitch,
    **{kind: _comparison_asker(kind) for kind in COMPARISONS},
    "loudness": _ask_loudness,
    "direction": _ask_direction,
    "beats": _ask_beats,
    "pattern": _ask_pattern,
    "sound": _ask_sound,
    "labels": _ask_labels,
}
"""Kind -> a function that draws the clips and the question of its nth prompt; answers are right in turn."""


def sounds(
    split: str | None,
    kinds: list[str] | None = None,
    size: int = 5000,
    seed: int = 0,
    multiple_choice: float = 0.0,
    chains: dict[str, float] | None = None,
    ask: str | None = None,
    described: bool = False,
) -> Iterator[Prompt]:
    """Yield questions on synthesised sounds: pitch, loudness, length, brightness, rhythm and order; no files needed.

    `kinds` (default: all but `labels`, which is `sound` for encoder pretraining) come in turn, `size` prompts for all
    splits together (80 % train, 10 % validation, 10 % test, by a hash of the sounds, so that none crosses splits when
    the settings change). Every answer of a kind is right equally often. A share `multiple_choice` asks for the letter
    of an option; `chains` are the shares of the styles of demonstrations and `ask` ends the questions of the style
    `asked` (`questions.CHAIN_STYLES`). Every prompt has `fields["description"]`, what is heard in words; with `described` it
    is read in place of the clips. Prompts on one clip have `fields["labels"]`, a label for each head of an encoder
    that applies. Raises ValueError."""
    check_split(split, SPLITS, "sounds")
    names = _names(kinds)
    check_share(multiple_choice, "sounds.multiple_choice")
    shares = Chains.build(chains, ask, "sounds")
    for part in SPLITS if split is None else (split,):
        yield from interleave(
            _prompts(name, part, per_kind, seed, multiple_choice, shares, described)
            for name, per_kind in zip(names, _prompts_per_kind(size, len(names), part), strict=True)
        )


def count(split: str | None, kinds: list[str] | None = None, size: int = 5000, **_: object) -> int:
    """Return the number of prompts that `sounds` makes."""
    check_split(split, SPLITS, "sounds")
    names = _names(kinds)
    return sum(sum(_prompts_per_kind(size, len(names), part)) for part in (SPLITS if split is None else (split,)))


def _names(kinds: list[str] | None) -> list[str]:
    check_kinds(kinds or (), KINDS, "sounds")
    return [kind for kind in KINDS if kind != "labels"] if kinds is None else kinds


def _prompts_per_kind(size: int, kinds: int, split: str) -> list[int]:
    """Return the number of prompts of each kind in the split; the first kinds have one more where it does not divide."""
    low = max((bound for bound in SPLITS.values() if bound < SPLITS[split]), default=0.0)
    total = round(size * (SPLITS[split] - low))
    return [total // kinds + (i < total % kinds) for i in range(kinds)]


def _prompts(
    kind: str, split: str, size: int, seed: int, multiple_choice: float, shares: Chains, described: bool
) -> Iterator[Prompt]:
    for n in range(size):
        clips, question = _draw(kind, split, n, seed)
        sounds = [] if described else [make_clip(*clip.sounds) for clip in clips]
        yield make_prompt(question, sounds, n, multiple_choice, shares, described)


def _draw(kind: str, split: str, n: int, seed: int) -> Draw:
    """Draw the nth question of a kind, as often as it takes to get sounds that belong to the split."""
    attempt = 0
    while True:
        clips, question = KINDS[kind](Random(f"{seed}/{kind}/{n}/{attempt}"), n)
        # Sorted: the same two clips the other way round belong to the same split.
        if split_of("/".join(sorted(clip.key for clip in clips))) == split:
            return clips, question
        attempt += 1
