"""Messages of an evaluation on prompts that it cannot measure on, and of controls for which there are too few."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from contexts import context

from rl.config import build
from rl.stages.evaluate import Config, accuracies, audio_reliance, measure, run
from rl.types import Clip, Message, Prompt, Rollout, Scored, Verdict


class Echo:
    """An engine whose answer is the name of the first clip that it hears."""

    chat = type("Chat", (), {"chain_length": staticmethod(len)})

    def generate(self, prompts: Sequence[Prompt], samples: int, **settings: object) -> Iterator[list[Rollout]]:
        for prompt in prompts:
            written = np.array([False, True])
            yield [
                Rollout(prompt, i, np.array([1, 2]), written, np.zeros(1, np.float32), "stop", 0, name(prompt))
                for i in range(samples)
            ]


class Marker:
    """A scorer: right where the answer is the prompt's; an error where the prompt is in `broken` and its sound another's."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken

    def collect(self, stream: Iterable[list[Rollout]]) -> list[Scored]:
        return [self.mark(rollout) for group in stream for rollout in group]

    def mark(self, rollout: Rollout) -> Scored:
        is_right = rollout.text == rollout.prompt.answer
        has_failed = rollout.prompt.id in self.broken and not is_right
        return Scored(rollout, Verdict(float(is_right), {}, "TimeoutError" if has_failed else None))


def name(prompt: Prompt) -> str:
    return str(prompt.clips[0].path) if prompt.clips else ""


def prompt(id: str, clips: int = 1) -> Prompt:
    return Prompt(id, (Message("user", "?"),), f"{id}.wav", clips=tuple(Clip(f"{id}.wav") for _ in range(clips)))


def control(folder: Path, prompts: Sequence[Prompt], *broken: str) -> tuple[dict[str, float], list[str]]:
    """The metrics of the control `swapped`, and the lines that are said."""
    config = build(Config, {"data": "d", "samples": 2, "temperature": 1.0, "greedy": False, "controls": ["swapped"]})
    lines: list[str] = []
    engine: Any = Echo()
    scorer: Any = Marker(*broken)
    _, samples, _ = measure(config, prompts, engine, scorer, 0)
    surroundings = context(folder / "evaluate", {}, say=lines.append)
    metrics = audio_reliance(config, samples, engine, scorer, surroundings)
    assert accuracies(samples, 2)["accuracy"] == 1.0
    return {name: value for name, value in metrics.items() if "/" not in name}, lines


def test_a_control_without_partners_is_skipped_with_a_line(tmp_path: Path) -> None:
    for number, prompts in enumerate([[prompt("a")], [prompt("a"), prompt("b", 2)]]):
        metrics, lines = control(tmp_path / str(number), prompts)
        assert metrics == {"accuracy_heard": 1.0}
        assert lines == ["distill: control swapped is skipped: no prompt has another one with as many clips"]


def test_a_difference_is_of_the_prompts_that_have_both(tmp_path: Path) -> None:
    metrics, lines = control(tmp_path, [prompt("a"), prompt("b"), prompt("c", 2)])
    assert metrics == {"accuracy_heard": 1.0, "accuracy_swapped": 0.0, "audio_reliance": 1.0}
    assert lines == []


def test_a_control_without_a_verdict_is_skipped_with_a_line(tmp_path: Path) -> None:
    metrics, lines = control(tmp_path, [prompt("a"), prompt("b")], "a", "b")
    assert metrics == {"accuracy_heard": 1.0}
    assert lines == ["distill: control swapped is skipped: no prompt has a verdict both with it and without"]


DEAF = Prompt("a", (Message("user", "?"),), "a.wav")
SHOWN = Prompt("b", (Message("user", "?\nA. dog\nB. cat"),), "cat", fields={"options": ["dog", "cat"]})


@pytest.mark.parametrize(
    ("settings", "asked", "text"),
    [
        (
            {"controls": ["silenced"]},
            DEAF,
            "evaluate 'distill': controls need prompts with audio, and none has any; rem",
        ),
        (
            {"orders": 2},
            DEAF,
            r"distill.orders: no prompt has options with texts \(`fields: {options: …}`\); remove it",
        ),
        ({"orders": 2}, replace(SHOWN, messages=DEAF.messages), "prompt 'b' does not show its options one a line, as"),
        ({"orders": 2}, replace(SHOWN, answer=None), "prompt 'b': the answer '' is none of the options A, B"),
        ({"orders": 2}, replace(SHOWN, answer="owl"), "prompt 'b': the answer 'owl' is none of the options A, B"),
        (
            {},
            replace(DEAF, fields={"external": [["seven"]]}),
            "prompt 'a' has no transcript of an external recogniser; g",
        ),
        (
            {},
            replace(DEAF, fields={"external": []}),
            "prompt 'a' has no transcript of an external recogniser; give its",
        ),
    ],
)
def test_what_prompts_show_is_said_before_anything_is_sampled(
    tmp_path: Path, settings: dict[str, object], asked: Prompt, text: str
) -> None:
    """After the samples it would cost them all."""
    engine: Any = SimpleNamespace(load=lambda model: 0)  # it has no `generate`
    prompts = [asked] if "orders" in settings else [SHOWN, asked]
    stage = context(tmp_path / "evaluate", {"d": prompts}, cluster=SimpleNamespace(sampler=engine))
    config = build(Config, {"data": "d", "samples": 2, "temperature": 1.0, **settings})
    with pytest.raises(ValueError, match=f"^{text}"):
        run(config, stage)
