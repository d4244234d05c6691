"""Asks what sounds at one place of a scene: four figures of three quick tones, two of them behind a mark; no files
needed.

    silence · figure · NOISE figure · figure · BUZZ figure · silence       6 to 7 s; "tones after the noise?"

Where a figure stands is heard at once, also by a model that hears long clips coarsely (`model.build.audio.coarse`); what its
tones are, only where the stretch is heard again, on its own. So the task needs the tool `listen`, as Echo (arXiv 2602.11909)
needs it on real sounds. Times are known, for the sounds are placed here: demonstrations name them, and what a model asks for
can be held against them (`fields["stretch"]`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Literal

from rl.audio import encode
from rl.data.rows import SPLITS, check_split, split_of
from rl.data.tasks.questions import Question, check_kinds, interleave, make_prompt
from rl.data.tasks.random_sounds import HIGH, LEVELS, LOW, PATTERNS
from rl.data.tasks.synthesis import Sound, place
from rl.types import Clip, Prompt

TONE_S, REST_S = 0.08, 0.02
"""Length of a tone of a figure, and of the silence behind it: a figure takes 0.28 s."""
FIGURE_S = 3 * TONE_S + 2 * REST_S
FIGURES = 4
SLOT_S = 0.5
"""Sounds stand in slots of this length, one each, at a place drawn within it: a tiny model can learn to name a slot."""
SLOTS = (12, 14)
"""Fewest and most slots of a scene."""
MARK_S = 0.3
STRETCH_S = 0.6
"""Length of the stretch that holds a figure and nothing else: its slot and a little more."""
MARK_AT, FIGURE_AT = (0.1, 0.15), (0.12, 0.2)
"""Bounds between which a mark or a figure begins in its slot: after the end of the stretch before, and so that it ends in time."""
MARKS = ("noise", "buzz")
BUZZ_HZ, BUZZ_PARTIALS = 800.0, 8
"""Pitch and partials of a buzz, up to 6.4 kHz: most of it lies above the tones of figures."""
PLACES = {f"{mark}_at": mark for mark in MARKS}
"""Kind of question that asks for the place of a figure -> the mark before it."""
KINDS = ("figure", *MARKS, *PLACES)
"""Kinds of questions: a figure alone, in a clip of its own; the one behind a mark; and where that one is."""

Placed = tuple[tuple[float, Sound], ...]
"""(start in seconds, sound), in order."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A clip's sounds and what is true of them."""

    sounds: Placed
    seconds: float
    tones: str
    """The figure that is asked for."""
    slots: dict[str, int]
    """Mark -> the slot of the figure behind it."""

    @property
    def key(self) -> str:
        """A hash of the sounds, which ids and splits are made of."""
        return hashlib.sha256(repr((self.sounds, self.seconds)).encode()).hexdigest()[:8]


def scenes(
    split: str | None,
    kinds: list[str] | None = None,
    size: int = 5000,
    seed: int = 0,
    chains: Literal["again", "once"] = "again",
) -> Iterator[Prompt]:
    """Yield questions on one of several sounds in a scene, to be heard again for its tones; no files needed.

    `kinds` (default: all) come in turn: `noise` and `buzz` ask for the figure behind that mark, `noise_at` and `buzz_at` where
    it is, and `figure` has a figure alone in a short clip. `size` prompts for all splits together (80 % train, 10 % validation,
    10 % test). Demonstrations of the first two ask to hear the stretch again, `<seg>2.5, 3.1</seg> low high low`, or with
    `chains: once` name the tones at once. `fields["stretch"]` is that stretch, `fields["labels"]` the tones of a figure, or the
    slots of those behind marks. Raises ValueError."""
    check_split(split, SPLITS, "scenes")
    names = _names(kinds)
    for part in SPLITS if split is None else (split,):
        yield from interleave(
            _prompts(name, part, count, seed, chains)
            for name, count in zip(names, _prompts_per_kind(size, len(names), part), strict=True)
        )


def count(split: str | None, kinds: list[str] | None = None, size: int = 5000, **_: object) -> int:
    """Return the number of prompts that `scenes` makes."""
    check_split(split, SPLITS, "scenes")
    names = _names(kinds)
    return sum(sum(_prompts_per_kind(size, len(names), part)) for part in (SPLITS if split is None else (split,)))


def _names(kinds: list[str] | None) -> list[str]:
    check_kinds(kinds or (), KINDS, "scenes")
    return [*KINDS] if kinds is None else kinds


def _prompts_per_kind(size: int, kinds: int, split: str) -> list[int]:
    """Return the number of prompts of each kind in the split; the first kinds have one more where it does not divide."""
    low = max((bound for bound in SPLITS.values() if bound < SPLITS[split]), default=0.0)
    total = round(size * (SPLITS[split] - low))
    return [total // kinds + (i < total % kinds) for i in range(kinds)]


def _prompts(kind: str, split: str, size: int, seed: int, chains: str) -> Iterator[Prompt]:
    for n in range(size):
        yield _ask(kind, _draw(kind, split, n, seed), chains, n)


def _draw(kind: str, split: str, n: int, seed: int) -> Scene:
    """Draw the nth clip of a kind, as often as it takes to get one that belongs to the split."""
    attempt = 0
    while True:
        random = Random(f"{seed}/scene/{kind}/{n}/{attempt}")
        tones = PATTERNS[n % len(PATTERNS)]  # each is right equally often
        scene = _figure_alone(random, tones) if kind == "figure" else _scene(random, PLACES.get(kind, kind), tones)
        if split_of(scene.key) == split:
            return scene
        attempt += 1


def _ask(kind: str, scene: Scene, chains: str, n: int) -> Prompt:
    """Return the question on a clip."""
    mark = PLACES.get(kind, kind)
    answer = chain = scene.tones
    if kind == "figure":
        text, labels, stretch = "which tones?", {"tones": scene.tones}, (0.0, STRETCH_S)
    else:
        text, stretch = f"tones after the {mark}?", stretch_of(scene.slots[mark])
        labels = {place: str(scene.slots[name]) for place, name in PLACES.items()}
    place = f"{stretch[0]:.1f}, {stretch[1]:.1f}"
    if kind in PLACES:
        text, answer, chain = f"when, after the {mark}?", place, place
    elif kind in MARKS and chains == "again":
        chain = f"<seg>{place}</seg> {scene.tones}"
    choices = () if kind in PLACES else PATTERNS
    question = Question(f"{kind}/{scene.key}", kind, text, answer, chain, choices, ({"from": stretch[0]},), labels)
    prompt = make_prompt(question, [_make_clip(scene.sounds, scene.seconds)], n, 0.0)
    return prompt if kind == "figure" else replace(prompt, fields={**prompt.fields, "stretch": [*stretch]})


def stretch_of(slot: int) -> tuple[float, float]:
    """Return the stretch that holds what stands in a slot, (start, end) in tenths of a second."""
    return slot * SLOT_S, round(slot * SLOT_S + STRETCH_S, 1)


def _scene(random: Random, mark: str, tones: str) -> Scene:
    count = random.randint(*SLOTS)
    marked = dict(zip(random.sample(range(FIGURES), len(MARKS)), MARKS, strict=True))
    # Between two groups, a figure with or without its mark, at least one slot is empty; the others may be anywhere.
    spare = count - FIGURES - len(MARKS) - (FIGURES - 1)
    # Sorted, so that before[i] is how many of the spare slots lie anywhere before figure i.
    before = sorted(random.randint(0, spare) for _ in range(FIGURES))
    sounds: list[tuple[float, Sound]] = []
    slots: dict[str, int] = {}
    filled = 0
    for i in range(FIGURES):
        slot = before[i] + filled
        if name := marked.get(i):
            sounds.append((_within(random, slot, MARK_AT), _mark(random, name)))
            slot += 1
            slots[name] = slot
        words = tones if marked.get(i) == mark else random.choice(PATTERNS)
        sounds += _figure(random, words, _within(random, slot, FIGURE_AT))
        # The slot of the figure, that of its mark if it has one, and the empty one behind the group.
        filled += 3 if i in marked else 2
    # With room for a stretch around the last slot.
    return Scene(tuple(sounds), stretch_of(count - 1)[1], tones, slots)


def _within(random: Random, slot: int, bounds: tuple[float, float]) -> float:
    return round(slot * SLOT_S + random.uniform(*bounds), 2)


def _figure_alone(random: Random, tones: str) -> Scene:
    """Draw a figure as a stretch that was asked for would have it."""
    return Scene(_figure(random, tones, _within(random, 0, FIGURE_AT)), STRETCH_S, tones, {})


def _figure(random: Random, tones: str, start: float) -> Placed:
    """Draw the tones of a figure: the low ones share a pitch, and so do the high ones."""
    pitches = {"low": random.choice(LOW), "high": random.choice(HIGH)}
    level = random.choice(LEVELS[2:])
    return tuple(
        (
            round(start + i * (TONE_S + REST_S), 2),
            Sound("tone", TONE_S, level, round(pitches[word] * (1 + random.uniform(-0.02, 0.02)), 4)),
        )
        for i, word in enumerate(tones.split())
    )


def _mark(random: Random, name: str) -> Sound:
    level = random.choice(LEVELS[2:])
    if name == "noise":
        return Sound("noise", MARK_S, level, seed=random.getrandbits(32))
    # Of many partials: the place of a single one is learned late, since it shows in one or two of the mel bands.
    return Sound("tone", MARK_S, level, BUZZ_HZ, harmonics=BUZZ_PARTIALS, seed=random.getrandbits(32))


@lru_cache(maxsize=16384)  # the stages of a recipe ask for the same clips
def _make_clip(sounds: Placed, seconds: float) -> Clip:
    return Clip(data=encode(place(sounds, seconds)))
