"""Requests to the judge of a set, and what becomes of canned replies. None of these is the official judge."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from set_files import write_set

from rewards.combine import PartConfig, RewardConfig
from rewards.contract import Case
from rewards.service import RewardService
from rewards.verifiers import benchmark
from rewards.verifiers.benchmark_judge import Config, connect
from rewards.watch import WatchConfig
from rl.benchmarks.judged import NOT_OFFICIAL, SPQA_TASKS, TOLERANCES
from rl.benchmarks.sets import BENCHMARKS
from rl.data.sources import DataConfig, load
from rl.report.benchmark_results import render_section
from rl.report.run_data import Stage
from rl.stages.benchmark_tables import FILE, measure_sets, write_results
from rl.types import Prompt, Rollout, Scored

Question = tuple[Sequence[dict[str, str]], dict[str, Any]]
Marks = dict[str, object] | str


class Canned:
    """A served judge that answers with canned marks, one after the other, and keeps what it was asked."""

    def __init__(self, *replies: Marks) -> None:
        self.replies, self.seen = list(replies), list[Question]()

    def __call__(self, questions: Sequence[Question]) -> list[str]:
        return [self.reply(question) for question in questions]

    def reply(self, question: Question) -> str:
        marks = self.replies[len(self.seen) % len(self.replies)]
        self.seen.append(question)
        if isinstance(marks, str):
            return marks
        seal = re.search(r'"seal": "([0-9a-f]+)"', question[0][0]["content"])
        assert seal
        asked = {name: 0 for name in question[1]["properties"] if name not in ("seal", "why")}
        return json.dumps({"seal": seal[1], "why": "so", **asked, **marks})

    @property
    def material(self) -> dict[str, Any]:
        return json.loads(self.seen[-1][0][1]["content"])

    @property
    def told(self) -> str:
        return self.seen[-1][0][0]["content"]


def prompt_of(name: str, folder: Path) -> Prompt:
    return load(DataConfig("benchmark", str(write_set(folder, name)), args={"set": name}), say=lambda line: None)[0]


def answered(prompt: Prompt, text: str, sample: int = 0) -> Rollout:
    return replace(Case(text, None).rollout(), prompt=prompt, sample=sample)


def mark(judge: Canned, prompt: Prompt, text: str) -> float:
    """The figure on the set's scale."""
    import asyncio

    async def ask() -> float:
        verifier = connect({"served": "j", "retries": 0}, {"j": judge})
        try:
            return (await verifier.judge(answered(prompt, text))).score
        finally:
            await verifier.close()

    judging = BENCHMARKS[str(prompt.fields["benchmark"])].judging
    assert judging
    low, high = judging.scale
    return round(low + asyncio.run(ask()) * (high - low), 6)


ENGLISH = "Otters eat fish, crabs and sea urchins, and they rest while floating on their backs in the water."


def test_wild_speech_is_the_mean_of_three_ratings_from_1_to_10(tmp_path: Path) -> None:
    prompt, judge = prompt_of("wildspeech", tmp_path), Canned({"score": 7}, {"score": 8}, {"score": 9})
    assert mark(judge, prompt, ENGLISH) == 8.0
    assert len(judge.seen) == 3
    assert judge.material == {
        "request": "Tell me about otters.",
        "answer": ENGLISH,
        "checklist": "- names their food",
    }
    assert "1-2" in judge.told
    assert "9-10" in judge.told
    assert judge.seen[0][1]["properties"]["score"] == {"type": "integer", "minimum": 1, "maximum": 10}
    judging = BENCHMARKS["wildspeech"].judging
    assert judging
    options = Config(served="j").asker(judging.options).options
    assert options == {"temperature": 0.5, "top_p": 0.95, "max_tokens": 1024}


def test_wild_speech_that_is_not_english_gets_1_unasked(tmp_path: Path) -> None:
    prompt, judge = prompt_of("wildspeech", tmp_path), Canned({"score": 10})
    assert mark(judge, prompt, "水獭吃鱼、螃蟹和海胆，它们仰面漂浮在水面上休息。") == 1.0
    assert (
        mark(judge, prompt, "Otter fressen Fische, Krebse und Seeigel, und sie ruhen auf dem Rücken im Wasser.") == 1.0
    )
    assert mark(judge, prompt, " ") == 1.0
    assert judge.seen == []


def test_the_rubrics_of_mmar_rate_right_answers_alone(tmp_path: Path) -> None:
    prompt = prompt_of("mmar", tmp_path)
    full = {f"rubric_{i}": 1 for i in range(1, 6)}
    ratings = [full, {**full, "rubric_1": 0}, {**full, "rubric_1": 0}, full, dict.fromkeys(full, 0)]
    judge = Canned(*ratings)
    assert mark(judge, prompt, "<think>Drops, then a clap.</think>thunder") == 0.0
    assert judge.seen == []
    # 1, 0.8, 0.8, 1, 0: without the highest and the lowest 0.8, 0.8 and 1
    assert mark(judge, prompt, "<think>Drops, then a clap.</think>rain") == round((0.8 + 0.8 + 1) / 3, 6)
    assert len(judge.seen) == 5
    assert judge.material["reasoning"] == "Drops, then a clap."
    assert judge.material["ideal_reasoning"] == "Drops are heard, then a clap."
    assert '"rubric_3", 0 to 1: point 2: says 2' in judge.told


def test_a_caption_of_the_wrong_number_of_speakers_is_0(tmp_path: Path) -> None:
    prompt = prompt_of("step_caption", tmp_path)
    judge = Canned({"speakers": 0, "gender_1": 10, "pitch_1": 10})
    assert mark(judge, prompt, "Several people talk.") == 0.0
    assert mark(Canned({"speakers": 1, "gender_1": 10, "pitch_1": 5}), prompt, "A woman.") == 0.75
    assert {*judge.seen[0][1]["properties"]} == {"seal", "why", "speakers", "gender_1", "pitch_1"}, (
        "无法判断 is skipped"
    )


def test_spqa_asks_only_where_the_words_differ(tmp_path: Path) -> None:
    prompt, judge = prompt_of("step_spqa", tmp_path), Canned({"right": 1}, {"right": 0})
    assert mark(judge, prompt, "女性。") == 1.0
    assert judge.seen == []
    assert mark(judge, prompt, "a woman") == 1.0
    assert mark(judge, prompt, "a man") == 0.0
    assert judge.material["reference"] == "女"


def test_tolerances_are_those_of_tasks_that_spqa_has(tmp_path: Path) -> None:
    assert len(SPQA_TASKS) == 11
    assert {*TOLERANCES} <= {*SPQA_TASKS}
    prompt = prompt_of("step_spqa", tmp_path)
    wanted = {
        "age": "decade",
        "emotions": "one group",
        "speed": "neighbouring",
        "event": "cause",
        "vocalsound": "cause",
    }
    for task, words in wanted.items():
        judge = Canned({"right": 1})
        mark(judge, replace(prompt, fields={**prompt.fields, "task_type": task}), "something else")
        assert words in judge.told


def test_dialogue_understanding_in_tenths(tmp_path: Path) -> None:
    prompt, judge = prompt_of("step_dialogue", tmp_path), Canned({"score": 5})
    assert mark(judge, prompt, "You sound tired and lively.") == 0.5
    assert "It says 'tired / sleepy'." in judge.told
    assert judge.material["question"] == "[audio]How do I sound?"


def test_closed_and_open_items_of_mmau_pro_are_two_things(tmp_path: Path) -> None:
    """The rule alone settles closed ones, the judge open ones, and the official figure is of closed ones."""
    closed, judge = (
        prompt_of("mmau_pro", tmp_path),
        Canned({"correctness": 1, "relevance": 1, "completeness": 2, "clarity": 1}),
    )
    assert mark(judge, closed, "no") == 1.0
    assert mark(judge, closed, "yes") == 0.0
    assert mark(judge, closed, "Both have a dog in them.") == 0.0
    assert judge.seen == []
    fields = {**closed.fields, "groups": {"category": "open", "form": "open"}}
    del fields["options"]
    free = replace(closed, id="p2", answer="a dog barks", fields=fields)
    assert mark(judge, free, "It is not true that a dog barks.") == 0.25
    assert mark(judge, free, "a dog barks") == 0.25
    assert len(judge.seen) == 2
    samples = [
        Scored(answered(prompt, text), benchmark.verify(prompt, answered(prompt, text)))
        for prompt, text in [(closed, "no"), (closed, "yes"), (free, "a dog barks"), (free, "a cat")]
    ]
    (result,) = measure_sets(samples)
    official = result.figures[0]
    assert (official.name, official.overall.value, official.overall.items, official.left_out) == ("official", 0.5, 1, 2)
    assert [cell.group for cell in official.tables["form"]] == ["closed"]
    assert official.note.startswith("a substitute for the set's own scoring as far as it needs no judge (")
    (result,) = measure_sets(samples[2:])  # open items alone
    assert (result.figures[0].overall.value, result.figures[0].left_out) == (None, 2)


def test_big_bench_audio_asks_about_hedged_answers(tmp_path: Path) -> None:
    prompt, judge = prompt_of("big_bench_audio", tmp_path), Canned({"right": 0})
    assert mark(judge, prompt, "Yes.") == 1.0
    assert judge.seen == []
    assert mark(judge, prompt, "You would probably return.") == 0.0


BROKEN = ["I would say 10 out of 10!", '{"score": 7}', "[]", "", '{"seal": "abc", "score": 7}']
WRONG_MARKS: list[Marks] = [{"score": 11}, {"score": 7.5}, {"score": True}, {"score": None}, {"score": "high"}]


@pytest.mark.parametrize("reply", [*BROKEN, *WRONG_MARKS])
def test_a_reply_that_cannot_be_read_is_an_error_of_that_answer(reply: Marks, tmp_path: Path) -> None:
    prompt = prompt_of("wildspeech", tmp_path)
    with pytest.raises(ValueError, match="judge"):
        mark(Canned(reply), prompt, ENGLISH)


def test_a_mark_may_be_written_as_text(tmp_path: Path) -> None:
    assert mark(Canned({"score": "7"}, {"score": 7.0}, {"score": 7}), prompt_of("wildspeech", tmp_path), ENGLISH) == 7.0


@pytest.fixture
def judged(tmp_path: Path) -> Callable[[RewardConfig, Canned, list[Rollout]], list[Scored]]:
    def score(config: RewardConfig, judge: Canned, rollouts: list[Rollout]) -> list[Scored]:
        with RewardService(config, tmp_path, {"j": judge}) as service:
            return service.score(rollouts)

    return score


def test_an_unread_reply_changes_no_other_answer(
    judged: Callable[[RewardConfig, Canned, list[Rollout]], list[Scored]], tmp_path: Path
) -> None:
    """Of two answers the judge cannot read its replies to one: the other has the figure that it has alone."""

    class Picky(Canned):
        def reply(self, question: Question) -> str:
            text = super().reply(question)
            return "no JSON" if "urchins" in question[0][1]["content"] else text

    prompt = prompt_of("wildspeech", tmp_path)
    args = {"served": "j", "retries": 0}
    config = RewardConfig([PartConfig("benchmark_judge", "benchmark_judge", args=args)])
    scored = judged(config, Picky({"score": 10}), [answered(prompt, ENGLISH), answered(prompt, "Otters eat fish.", 1)])
    assert [s.verdict.error is None for s in scored] == [False, True]
    (result,) = measure_sets(scored)
    (figure,) = result.figures
    assert (figure.name, figure.overall.value, figure.left_out) == ("judged", 10.0, 1)
    assert figure.note == f"a judge, {NOT_OFFICIAL} (gpt-4o-mini)"
    write_results(tmp_path / FILE, [result])
    assert NOT_OFFICIAL in render_section([Stage("e", "evaluate", True, 1.0, {}, (), tmp_path)])


def test_a_judge_beside_a_rule_takes_no_answer_its_verdict(
    judged: Callable[[RewardConfig, Canned, list[Rollout]], list[Scored]], tmp_path: Path
) -> None:
    prompt = prompt_of("mmar", tmp_path)
    watch = [WatchConfig("benchmark_judge", args={"served": "j", "retries": 0})]
    config = RewardConfig([PartConfig("benchmark", args={"rule": "official"})], watch=watch)
    (scored,) = judged(config, Canned("broken"), [answered(prompt, "rain")])
    assert (scored.verdict.score, scored.verdict.error) == (1.0, None)
    (result,) = measure_sets([scored])
    assert [(f.name, f.overall.value) for f in result.figures] == [("official", 1.0), ("strict", 1.0)]
    (scored,) = judged(config, Canned({f"rubric_{i}": 1 for i in range(1, 6)}), [answered(prompt, "rain")])
    (result,) = measure_sets([scored])
    assert [(f.name, f.overall.value) for f in result.figures][-1] == ("judged", 1.0)
