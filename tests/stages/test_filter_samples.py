"""What is kept of samples: distilled chains, and pairs of better and worse."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from contexts import context
from hypothesis import given
from hypothesis import strategies as st

from rewards.combine import PartConfig, RewardConfig
from rl.config import ConfigError, build
from rl.data.stage_outputs import load_distilled, load_pairs
from rl.run.files import write_jsonl
from rl.stages import distill, pairs
from rl.stages.sampling import Sample, line_appender, read_samples, with_instructions
from rl.stages.selection import select_prompts
from rl.types import Clip, Demonstration, Message, Prompt

REWARD = RewardConfig(
    [
        PartConfig("text"),
        PartConfig("format", name="grounding", when={"audio": True}),
        PartConfig("format", name="coherence"),
    ]
)
KEEP = {"accuracy": 1.0, "grounding": 0.6, "coherence": 0.5}


def sample(prompt: str, i: int, said: str = "", score: float = 1.0, **changes: Any) -> Sample:
    parts = {"accuracy": 1.0, "grounding": 1.0, "coherence": 1.0, **changes.pop("parts", {})}
    text = f"<think>\nchain {said or i}\n</think>\nanswer"
    return Sample(
        "d", "train", prompt, i, **{"text": text, "tokens": 9, "truncated": False, **changes}, score=score, parts=parts
    )


def prompt(id: str, answer: str = "a", source: str = "", audio: bool = True) -> Prompt:
    return Prompt(id, (Message("user", id),), answer, source, (Clip("x.wav"),) if audio else ())


def config(**changes: Any) -> distill.Config:
    return build(distill.Config, {"data": "d", "keep": KEEP, "balance": None, **changes}, "stages[0].distill")


def test_every_criterion_drops_its_own() -> None:
    prompts = {"p": prompt("p"), "q": prompt("q", audio=False)}
    samples = [
        sample("p", 0, score=0.9),
        sample("p", 1, error="verifier hung"),
        sample("p", 2, truncated=True),
        sample("p", 3, text="answer"),
        sample("p", 4, text="<think>a</think>b</think>c"),
        sample("p", 5, parts={"accuracy": 0.0}),
        sample("p", 6, parts={"grounding": 0.5}),
        sample("p", 7, parts={"coherence": 0.4}),
        sample("p", 8, said="0"),
        sample("p", 9, score=0.95),
        sample("q", 0, parts={"grounding": 0.0}),
    ]
    kept, funnel, dropped = distill.filter_samples(samples, prompts, config(), REWARD)
    assert [s.key for s in kept] == [("p", 9), ("q", 0)], "the best of a question; grounding does not judge text"
    assert funnel == {
        "asked": 2,
        "sampled": 11,
        "judged": 10,
        "whole": 7,
        "correct": 6,
        "grounded": 5,
        "coherent": 4,
        "distinct": 3,
        "best": 2,
        "kept": 2,
    }
    assert dropped == {
        "could not be judged": 1,
        "without one closed chain and an answer": 3,
        "accuracy below 1": 1,
        "grounding below 0.6": 1,
        "coherence below 0.5": 1,
        "said before": 1,
        "more than 1 of a question": 1,
    }


def test_a_part_that_says_nothing_of_itself_does_not_pass() -> None:
    unsaid, _, dropped = distill.filter_samples(
        [sample("p", 0)], {"p": prompt("p")}, config(keep={"grounding/true": 0.5}), REWARD
    )
    assert not unsaid
    assert dropped == {"grounding/true below 0.5": 1}


@given(st.lists(st.sampled_from("aaab"), max_size=40), st.sampled_from([1.0, 1.5, 2.0, 3.0]))
def test_no_answer_has_more_than_its_share(answers: list[str], balance: float) -> None:
    prompts = {str(i): prompt(str(i), answer) for i, answer in enumerate(answers)}
    kept = distill.balance_answers([sample(id, 0) for id in prompts], prompts, balance)
    counts = [[prompts[s.prompt].answer for s in kept].count(answer) for answer in set(answers)]
    assert all(count >= 1 for count in counts)
    assert all(count == 1 or count * len(counts) <= balance * len(kept) for count in counts)


def test_balance_is_by_source() -> None:
    prompts = {f"{s}{i}": prompt(f"{s}{i}", "yes" if i < 6 else "no", s) for s in ("x", "y") for i in range(8)}
    kept = distill.balance_answers([sample(id, 0) for id in prompts], prompts, 1.0)
    assert [(s.prompt[0], prompts[s.prompt].answer) for s in kept] == [
        *[("x", "yes")] * 2,
        *[("x", "no")] * 2,
        *[("y", "yes")] * 2,
        *[("y", "no")] * 2,
    ]
    assert len(distill.balance_answers([sample(id, 0) for id in prompts], prompts, None)) == 16


def test_pairs_are_best_against_worst() -> None:
    samples = [sample("p", i, score=score) for i, score in enumerate([0.2, 1.0, 0.9, 0.0])]
    samples += [sample("q", i, score=score) for i, score in enumerate([0.6, 0.5])]
    samples += [sample("p", 4, score=2.0, truncated=True), sample("p", 5, score=-1.0, error="hung")]
    made, funnel = pairs.match_samples(samples, pairs.Config("d", per_prompt=3))
    assert [(a.key, b.key) for a, b in made] == [(("p", 1), ("p", 3)), (("p", 2), ("p", 0))]
    assert funnel == {"sampled": 8, "judged": 7, "whole": 6, "prompts apart": 1, "kept": 2}
    made, _ = pairs.match_samples(samples, pairs.Config("d", margin=0.05))
    assert [(a.key, b.key) for a, b in made] == [(("p", 1), ("p", 3)), (("q", 0), ("q", 1))]


def test_pairs_by_one_part() -> None:
    """Self-cognition: the answer that denies the sound loses, however right it is."""
    samples = [sample("p", 0, score=1.0, parts={"hears": 0.0}), sample("p", 1, score=0.0, parts={"hears": 1.0})]
    samples.append(sample("p", 2, score=0.5))
    ((chosen, rejected),), funnel = pairs.match_samples(samples, pairs.Config("d", by="hears"))
    assert (chosen.sample, rejected.sample) == (1, 0)
    assert funnel["judged"] == 2


def test_the_chosen_is_the_best_of_those_that_pass() -> None:
    """An answer that reasons from an imagined text hears as well as one that measures; it is not what to learn."""
    heard = [(1.0, 0.0), (1.0, 0.6), (0.5, 0.9), (0.0, 1.0)]  # (hears, grounding), best score first
    samples = [
        sample("p", i, score=1 - i / 10, parts={"hears": hears, "grounding": grounding})
        for i, (hears, grounding) in enumerate(heard)
    ]
    samples += [sample("q", 0, score=1.0, parts={"hears": 1.0, "grounding": 0.5}), sample("q", 1, parts={"hears": 0.0})]
    config = pairs.Config("d", by="hears", chosen={"grounding": 0.6}, per_prompt=2)
    made, funnel = pairs.match_samples(samples, config)
    assert [(a.key, b.key) for a, b in made] == [(("p", 1), ("p", 3))], "the second best is only 0.5 above its like"
    assert (funnel["whole"], funnel["fit to be chosen"], funnel["kept"]) == (6, 4, 1)
    made, _ = pairs.match_samples(samples, pairs.Config("d", by="hears", per_prompt=2))
    assert made[0][0].key == ("p", 0)


def test_pairs_of_another_stage_do_not_depend_on_which_sample_ended_first(tmp_path: Path) -> None:
    """In its file samples stand as they were judged; `limit` and every draw go by the order of the pairs."""
    samples = [sample(id, i, score=score) for id in "qp" for i, score in enumerate([1.0, 0.0, 1.0])]
    unjudged = sample("p", 0, score=0.5, error="the judge is away")  # judged again later
    prompts, files = {"d": [prompt("p"), prompt("q")]}, list[bytes]()
    for i, order in enumerate([samples, samples[::-1]]):
        file = tmp_path / f"{i}.jsonl"
        line_appender(file)([unjudged, *order])
        stage = context(tmp_path / f"{i}" / "pairs", prompts, artifact=lambda kind, name, file=file: file)
        outcome = pairs.run(pairs.Config("d", samples_of="distill"), stage)
        assert outcome.facts == {}, "model and reward are the other stage's, whose record names them"
        files.append((stage.folder / pairs.FILE).read_bytes())
    assert [json.loads(line)["id"] for line in files[0].splitlines()] == ["p#0>1", "q#0>1"]
    assert files[0] == files[1]


def test_what_is_asked_is_not_what_is_kept() -> None:
    plain = Prompt("p", (Message("system", "be brief"), Message("user", "what sound?")))
    put = with_instructions(plain, "listen closely", "Name what you hear.")
    assert put.messages == (Message("system", "listen closely"), Message("user", "what sound?\nName what you hear."))
    assert with_instructions(plain, None, None) == plain


def test_questions_are_selected_by_a_rule() -> None:
    sources = {"d": [prompt("p", source="pitch"), prompt("q", audio=False)]}
    assert [p.id for p in select_prompts(sources, {"audio": True})["d"]] == ["p"]
    assert [p.id for p in select_prompts(sources, {"source": ["pitch", "tempo"]})["d"]] == ["p"]
    assert select_prompts(sources, None) == sources


def test_samples_outlive_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    kept = [sample("p", 0), sample("p", 1, error="hung")]
    write_jsonl(file, map(asdict, kept))
    with file.open("ab") as out:
        out.write(b'{"data": "d", "pro')
    assert list(read_samples(file)) == kept
    line_appender(file)([sample("p", 2)])
    assert list(read_samples(file)) == [*kept, sample("p", 2)]
    file.write_text('{"data": 1}\n')
    with pytest.raises(ValueError, match=r"samples\.jsonl:1: .*remove it, and what it held is sampled again"):
        list(read_samples(file))


def test_rows_are_joined_with_their_prompts(tmp_path: Path) -> None:
    known = {("d", "train"): [prompt("p"), prompt("q")]}
    row = {"id": "q#3", "data": "d", "split": "train", "prompt": "q", "reasoning": "r", "response": "a"}
    file = tmp_path / "distilled.jsonl"
    write_jsonl(file, [row])
    (found,) = load_distilled(file, lambda data, split: known[data, str(split)])
    assert (found.id, found.clips, found.demonstration) == ("q#3", (Clip("x.wav"),), Demonstration("r", "a"))
    side = {"reasoning": "r", "response": "a"}
    write_jsonl(file, [{**row, "chosen": side, "rejected": {**side, "response": "b"}}])
    (pair,) = load_pairs(file, lambda data, split: known[data, str(split)])
    assert (pair.id, pair.chosen.response, pair.rejected.response) == ("q#3", "a", "b")
    write_jsonl(file, [{**row, "prompt": "z"}])
    with pytest.raises(ValueError, match="has no prompt 'z'; was the data changed since"):
        load_distilled(file, lambda data, split: known[data, str(split)])
    file.write_text(json.dumps({"id": "x"}) + "\n")
    with pytest.raises(ValueError, match=r"distilled\.jsonl:1: no column 'data'"):
        load_distilled(file, lambda data, split: [])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"samples": 0}, r"stages\[0\]\.distill\.samples: must be at least 1"),
        ({"keep": {}}, r"stages\[0\]\.distill\.keep: empty"),
        ({"balance": 0.5}, r"stages\[0\]\.distill\.balance: must be at least 1"),
        ({"temperature": 0}, r"stages\[0\]\.distill\.temperature: must be above 0"),
        ({"select": {"sauce": "x"}}, r"stages\[0\]\.distill\.select\.when: unknown key 'sauce'"),
    ],
)
def test_mistakes_name_their_place(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        config(**changes)


def test_samples_of_another_stage_have_been_judged_already() -> None:
    with pytest.raises(ConfigError, match=r"^x\.reward: the samples of 'distill' are judged already; remove one"):
        pairs.Config("d", samples_of="distill", reward=REWARD).validate("x")
