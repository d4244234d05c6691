"""Ask what sounds at one place of a scene: four figures of three quick tones, two of them behind a mark; no files needed.

    silence · figure · NOISE figure · figure · BEEP figure · silence       6 to 8 s; "tones after the noise?"

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
MARK_S, MARK_GAP_S = 0.3, 0.2
"""Length of a mark, and the silence between it and its figure."""
LEAST_GAP_S = 0.3
"""Silence between two groups, and at the ends, at least."""
SCENE_S = (6.0, 8.0)
STRETCH_S = 0.6
"""Length of the stretch that holds a figure, with 0.1 s or more on both sides."""
MARKS = ("noise", "beep")
BEEP_HZ = 2000.0
"""Pitch of a beep, above all tones of figures."""
LABEL_S = 0.4
"""Width of the classes of a place, for labels of encoder pretraining."""
KINDS = ("figure", *MARKS)
"""Kinds of questions: a figure alone, in a clip of its own, or the one behind a mark."""

Placed = tuple[tuple[float, Sound], ...]
"""(start in seconds, sound), in order."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A clip's sounds and what is true of them."""

    sounds: Placed
    seconds: float
    tones: str
    """The figure that is asked for."""
    starts: dict[str, float]
    """Mark -> the start of the figure behind it, s; `figure` for one alone."""

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

    `kinds` (default: all) come in turn: `noise` and `beep` ask for the figure behind that mark, `figure` has a figure alone
    in a short clip. `size` prompts for all splits together (80 % train, 10 % validation, 10 % test). Demonstrations of
    scenes ask to hear the stretch again, `<seg>2.1, 2.7</seg> low high low`, or with `chains: once` name the tones at once.
    `fields["stretch"]` is that stretch, `fields["labels"]` the tones of a figure, or where figures behind marks begin. Raises
    ValueError."""
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
        scene = _figure_alone(random, tones) if kind == "figure" else _scene(random, kind, tones)
        if split_of(scene.key) == split:
            return scene
        attempt += 1


def _ask(kind: str, scene: Scene, chains: str, n: int) -> Prompt:
    """Return the question on a clip."""
    chain, labels, stretch = scene.tones, {"tones": scene.tones}, None
    text = "which tones?"
    if kind != "figure":
        stretch = stretch_around(scene.starts[kind])
        text, chain = f"tones after the {kind}?", scene.tones
        if chains == "again":
            chain = f"<seg>{stretch[0]:.1f}, {stretch[1]:.1f}</seg> {scene.tones}"
        labels = {f"{mark}_at": f"{LABEL_S * int(start / LABEL_S):.1f}" for mark, start in scene.starts.items()}
    question = Question(
        f"{kind}/{scene.key}", kind, text, scene.tones, chain, PATTERNS, ({"at": scene.starts[kind]},), labels
    )
    prompt = make_prompt(question, [_make_clip(scene.sounds, scene.seconds)], n, 0.0)
    return prompt if stretch is None else replace(prompt, fields={**prompt.fields, "stretch": [*stretch]})


def stretch_around(start: float) -> tuple[float, float]:
    """Return the stretch that a demonstration asks for, (start, end) in tenths of a second, of a figure that begins at
    `start`."""
    tenth = int(10 * start - 1 + 1e-6)  # 0.1 to 0.2 s before the figure
    return tenth / 10, round(tenth / 10 + STRETCH_S, 1)


def _scene(random: Random, mark: str, tones: str) -> Scene:
    seconds = round(random.uniform(*SCENE_S), 1)
    marked = dict(zip(random.sample(range(FIGURES), len(MARKS)), MARKS, strict=True))
    spare_s = seconds - FIGURES * FIGURE_S - len(MARKS) * (MARK_S + MARK_GAP_S) - (FIGURES + 1) * LEAST_GAP_S
    # What is left of the time, cut at random places: the silences beyond the least ones.
    cuts = sorted(random.uniform(0, spare_s) for _ in range(FIGURES))
    sounds: list[tuple[float, Sound]] = []
    starts: dict[str, float] = {}
    filled_s = 0.0
    for i in range(FIGURES):
        at = round(LEAST_GAP_S * (i + 1) + filled_s + cuts[i], 2)
        if i in marked:
            sounds.append((at, _mark(random, marked[i])))
            at = round(at + MARK_S + MARK_GAP_S, 2)
            filled_s += MARK_S + MARK_GAP_S
            starts[marked[i]] = at
        words = tones if marked.get(i) == mark else random.choice(PATTERNS)
        sounds += _figure(random, words, at)
        filled_s += FIGURE_S
    return Scene(tuple(sounds), seconds, tones, starts)


def _figure_alone(random: Random, tones: str) -> Scene:
    """Draw a figure where a stretch that was asked for would have it, or as far away as one that is slightly beside."""
    at = round(random.uniform(0.02, STRETCH_S - FIGURE_S - 0.02), 2)
    return Scene(_figure(random, tones, at), STRETCH_S, tones, {"figure": at})


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
    return Sound("tone", MARK_S, level, BEEP_HZ)


@lru_cache(maxsize=16384)  # the stages of a recipe ask for the same clips
def _make_clip(sounds: Placed, seconds: float) -> Clip:
    return Clip(data=encode(place(sounds, seconds)))
