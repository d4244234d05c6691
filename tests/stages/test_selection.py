"""Questions selected by who judges them alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from contexts import context, prompt
from judge_api import Api

from rewards.combine import RewardConfig
from rl.config import ConfigError, build
from rl.stages import distill
from rl.stages.selection import NOT_JUDGED, SELECTION, SelectBy, read_opinions, select_questions

HEARS = """
from pathlib import Path
from rl.types import Verdict

HERE = Path(__file__).parent

def verify(prompt, rollout):
    assert (rollout.text, rollout.response, rollout.tokens.size, rollout.truncated) == ("", "", 0, False)
    with open(HERE / "asked.txt", "a") as log:
        log.write(prompt.id + "\\n")
    if prompt.id.startswith("b") and (HERE / "broken").exists():
        raise RuntimeError("no answer")
    return Verdict(0.6 if "voice" in prompt.question else 0.4, reason="read")
"""
OWN = SelectBy("hears.py:verify", least=0.5)
SOURCES = {
    "d": [prompt("a1", "whose voice?"), prompt("a2", "what word?"), prompt("b1", "which voice?")],
    "e": [prompt("a3", "how many voices?")],
}


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    (tmp_path / "hears.py").write_text(HEARS)
    (tmp_path / "broken").touch()
    return tmp_path / "asked.txt"


def chosen(at: Any, by: SelectBy = OWN) -> tuple[dict[str, list[str]], dict[str, int]]:
    passed, dropped = select_questions(by, at, SOURCES, at.rewards.config)
    return {name: [p.id for p in prompts] for name, prompts in passed.items()}, dropped


def test_each_question_is_judged_once(tmp_path: Path, asked: Path) -> None:
    first = context(tmp_path / "distill@1", SOURCES)
    assert chosen(first) == ({"d": ["a1"], "e": ["a3"]}, {NOT_JUDGED: 1, "as a question below 0.5": 1})
    kept = {o.prompt: o for o in read_opinions(first.folder / SELECTION)}
    assert (kept["a1"].score, kept["a1"].reason, kept["a1"].error) == (0.6, "selected: read", None)
    assert "no answer" in str(kept["b1"].error), "an error is no low score"

    with (first.folder / SELECTION).open("ab") as file:
        file.write(b'{"prompt": "a')
    (tmp_path / "broken").unlink()
    before = asked.read_text().split()
    said: list[str] = []
    again = context(tmp_path / "distill@1", SOURCES, say=said.append)
    assert chosen(again) == ({"d": ["a1", "b1"], "e": ["a3"]}, {NOT_JUDGED: 0, "as a question below 0.5": 1})
    assert "distill: 3 of 4 questions are judged already" in said
    fresh = asked.read_text().split()[len(before) :]
    assert [id for id in fresh if id != "gold"] == ["b1"], "what could not be judged is judged again, and nothing else"

    here = first.folder / SELECTION
    later = context(tmp_path / "distill@2", SOURCES, service=None, earlier=lambda kind: here)
    assert chosen(later)[0] == {"d": ["a1", "b1"], "e": ["a3"]}, "nobody is asked in a later iteration"
    assert read_opinions(later.folder / SELECTION) == [o for o in read_opinions(here) if o.error is None]


def test_a_model_selects_what_has_to_be_heard(tmp_path: Path, api: Api) -> None:
    by = SelectBy("judge", {"endpoint": api.address, "model": "m", "rubric": "perception", "timeout_s": 10.0})
    at = context(tmp_path / "distill", SOURCES)
    assert chosen(at, by)[0] == {"d": ["a1", "b1"], "e": []}
    assert len(api.seen) == 4
    assert all(list(json.loads(body["messages"][1]["content"])) == ["question"] for body in api.seen)
    assert chosen(at, by)[0] == {"d": ["a1", "b1"], "e": []}
    assert len(api.seen) == 4


def test_too_many_that_cannot_be_judged_stop_the_stage(tmp_path: Path, asked: Path) -> None:
    many = {"d": [prompt(f"b{i}") for i in range(20)]}
    at = context(tmp_path / "distill", many)
    says = r"^distill\.select_by: \d+ of the last \d+ samples could not be judged .*selected: RuntimeError: no answer$"
    with pytest.raises(ValueError, match=says):
        select_questions(OWN, at, many, at.rewards.config)
    assert all(opinion.error for opinion in read_opinions(at.folder / SELECTION))


def test_nothing_left_says_the_funnel(tmp_path: Path, asked: Path) -> None:
    config = build(
        distill.Config,
        {"data": "d", "select": {"source": "x"}, "select_by": {"verifier": "hears.py:verify", "least": 0.7}},
        "stages[0].distill",
    )
    sources = {"d": [*SOURCES["d"], prompt("a4", "what word?", "x"), prompt("b4", "a voice?", "x")]}
    says = (
        r"nothing is left of 'd' \(available 5, eligible 2, selected 0, asked 0, sampled 0, .*"
        r"dropped: 1 not judged as a question; 1 as a question below 0\.7\); select other questions"
    )
    with pytest.raises(ValueError, match=says):
        distill.run(config, context(tmp_path / "distill", sources))


def test_how_it_is_judged_is_as_the_reward_beside_it_says() -> None:
    shared = RewardConfig([], deadline_s=3.0, workers=4, clip=(0.0, 0.1), max_error_share=0.2)
    made = OWN.reward(shared)
    assert (made.deadline_s, made.workers, made.max_error_share, made.clip) == (3.0, 4, 0.2, None)
    assert [(part.verifier, part.name) for part in made.parts] == [("hears.py:verify", "selected")]


@pytest.mark.parametrize(
    ("by", "says"),
    [
        ({"verifier": "text", "least": 2}, r"select_by\.least: scores lie between 0 and 1; got 2"),
        ({"verifier": "reward_model"}, r"select_by\.verifier: a reward_model judges answers"),
        (
            {"verifier": "judge", "args": {"served": "c"}},
            r"select_by\.args\.shows: there is no answer yet to show; name `rubric: perception`, or one of ",
        ),
        (
            {"verifier": "judge", "args": {"served": "c", "rubric": {"x": "y"}}},
            r"select_by\.args\.shows: there is no answer yet to show",
        ),
        (
            {"verifier": "judge", "args": {"served": "c", "against": "answer"}},
            r"select_by\.args\.against: there is no answer yet to",
        ),
        ({"verifier": "judge", "args": {"served": "c", "shown": []}}, r"select_by\.args: unknown key 'shown'"),
        ({"verifier": "text", "weight": 1}, r"select_by: unknown key 'weight'"),
    ],
)
def test_mistakes_name_their_place(by: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=r"stages\[0\]\.distill\." + says):
        build(distill.Config, {"data": "d", "select_by": by}, "stages[0].distill")
