"""Demonstrations of whose word to take, from samples; and what a model gains by its choices."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contexts import context
from tokenizers import Tokenizer

from models.tokenizer import byte_tokenizer
from rl.config import ConfigError, build
from rl.data.chat import Chat
from rl.data.stage_outputs import load_distilled
from rl.stages.arbitrate import Config, arbitrate, first_answers, run
from rl.stages.arbitration_metrics import arbitration_metrics
from rl.stages.rehearsal import Rehearsal
from rl.stages.sampling import SAMPLES, Sample, line_appender
from rl.types import Demonstration, Message, Prompt, Rollout, Scored, Verdict
from rollouts.environments.config import EnvironmentConfig
from rollouts.environments.service import EnvironmentService

CHAT = Chat(byte_tokenizer(), think=True)
EAR = EnvironmentConfig(
    step="rollouts.environments.second_ear:step", args={"cost": 0.1}, stop=["<ask>", "<internal>", "<external>"]
)


def prompt(id: str, gold: str, external: object) -> Prompt:
    return Prompt(id, (Message("user", "which digits?"),), gold, fields={"external": external})


def sample(id: str, response: str, number: int = 0, truncated: bool = False) -> Sample:
    text = f"<think>\n{response}\n</think>\n{response}"
    return Sample("strings", "train", id, number, text, 9, truncated, 1.0)


PROMPTS = {
    p.id: p
    for p in (
        prompt("own", "7 3 5", "7 3 9"),
        prompt("external", "7 3 5", ["7 3 5", "7 3 5", "1 1 1"]),
        prompt("neither", "7 3 5", "7 1 1"),
        prompt("odd", "7 3 5", "7 3 5"),
    )
}
DRAWN = [
    sample("own", "7 3 5"),
    sample("external", "7 3 1"),
    sample("neither", "7 1 2"),
    sample("odd", "7 <ask> 5"),
    sample("odd", "7 3 5", 1, truncated=True),
]


def config(**values: object) -> Config:
    return build(Config, {"data": "strings", **values}, "arbitrate")


@pytest.mark.parametrize(
    ("settings", "fused", "written"),
    [
        ({}, {}, [("7 3 5<ask>", "<internal>"), ("7 3 1<ask>", "<external>"), ("7 1 2<ask>", "<internal>")]),
        (
            {"asks": "if_wrong", "compare": "answer"},
            {},
            [("7 3 5", "<internal>"), ("7 3 1<ask>", "<external>"), ("7 1 2<ask>", "<rewrite>7 3 5")],
        ),
        (
            {"asks": "never"},
            {"neither": "7 3 1", "own": "7 3 5"},
            [("7 3 5", "<internal>"), ("7 3 1", "<external>"), ("7 1 2", "<rewrite>7 3 5")],
        ),
        ({"actions": False}, {}, [("7 3 5<ask>", "7 3 5"), ("7 3 1<ask>", "7 3 5"), ("7 1 2<ask>", "7 3 5")]),
    ],
)
def test_demonstrations_of_samples(
    settings: dict[str, object], fused: dict[str, str], written: list[tuple[str, str]]
) -> None:
    choices = arbitrate(DRAWN, PROMPTS, config(**settings), fused)
    demonstrations = [choice.demonstration("7 3 5", config(**settings)) for choice in choices]
    assert [(d.reasoning, d.response) for d in demonstrations] == written


def test_settings_that_contradict_each_other_are_refused() -> None:
    for values, message in (
        ({"fused_of": "x", "compare": "answer"}, r"fused_of: nothing is compared with it under `compare: answer`"),
        ({"fused_of": "x", "actions": False}, r"fused_of: nothing is compared with it under `actions: false`"),
        ({"asks": "never", "actions": False}, r"asks: without actions and without asking nothing is arbitrated"),
    ):
        with pytest.raises(ConfigError, match=message):
            config(**values).validate("stages[0].arbitrate")


def test_a_gold_without_words_is_named() -> None:
    with pytest.raises(ValueError, match=r"prompt 'own': the reference '…' has no words"):
        arbitrate(DRAWN[:1], {"own": prompt("own", "…", "7")}, config(), {})


def test_the_first_answer_that_ended_counts() -> None:
    """The lowest number is first, whichever was written first; one whose environment failed is none, until it is sampled again."""
    failed = replace(sample("a", "6", 1), error="environment: it took too long")
    ended = [sample("a", "9", 3), sample("a", "8", 2)]
    assert first_answers([*ended, sample("a", "7", truncated=True), failed]) == {"a": "8"}
    assert first_answers([failed, *ended, sample("a", "5", 1)]) == {"a": "5"}


def test_an_answer_whose_environment_failed_is_no_choice() -> None:
    failed = replace(sample("own", "7"), error="environment: it took too long")
    assert [choice.own for choice in arbitrate([failed, sample("own", "7 3 5", 1)], PROMPTS, config(), {})] == ["7 3 5"]


def test_demonstrations_are_rehearsed_with_the_candidates_that_cost_no_loss() -> None:
    choices = arbitrate(DRAWN, PROMPTS, config(), {})
    prompts = [replace(PROMPTS[c.sample.prompt], demonstration=c.demonstration("7 3 5", config())) for c in choices[:2]]
    with EnvironmentService(EAR) as environment:
        batch = Rehearsal(CHAT, environment, 200).collate(prompts)
    rows = [batch.select([i]) for i in range(2)]
    said = [CHAT.controls.tokenizer.decode(row.tokens_T).partition("<think>\n")[2] for row in rows]
    learned = [CHAT.controls.tokenizer.decode(row.tokens_T[row.action_mask_T]) for row in rows]
    assert said[0] == "7 3 5<ask>7 3 9</ask>\n</think>\n<internal>7 3 5<|EOT|>"
    assert learned[0] == "7 3 5<ask>\n</think>\n<internal><|EOT|>"
    assert said[1] == "7 3 1<ask>7 3 5</ask>\n</think>\n<external>7 3 5<|EOT|>"

    # As with the tokenizers of Qwen and Llama 3, a pause behind a sign ends with the line break.
    tokenizer = byte_tokenizer()
    model = json.loads(tokenizer.backend_tokenizer.to_str())
    model["model"]["vocab"][">Ċ"] = len(tokenizer)
    model["model"]["merges"] = [[">", "Ċ"]]
    tokenizer.backend_tokenizer.model = Tokenizer.from_str(json.dumps(model)).model
    prompt = replace(PROMPTS["own"], demonstration=Demonstration("7 3 5<ask>\nso", "<internal>"))
    with EnvironmentService(EAR) as environment:
        batch = Rehearsal(Chat(tokenizer, think=True), environment, 200).collate([prompt])
    said = tokenizer.decode(batch.tokens_T).partition("<think>\n")[2]
    assert said == "7 3 5<ask>\n7 3 9</ask>so\n</think>\n<internal>7 3 5<|EOT|>"


def scored(prompt: Prompt, number: int, own: str, answer: str, probability: float) -> Scored:
    """A sample whose action has the probability, all of it on its second letter, the first in which actions differ."""
    text = f"{own}\n</think>\n{answer}"
    head = CHAT.controls.tokenizer.encode("?<think>\n", add_special_tokens=False)
    ids = CHAT.controls.tokenizer.encode(text, add_special_tokens=False)
    written = [CHAT.written(ids[: n + 1]) for n in range(len(ids))]
    logprobs = np.zeros(len(ids), np.float32)
    place = next(n for n, t in enumerate(written) if len(t.partition("</think>\n<")[2]) == 1)
    logprobs[place] = np.log(probability)
    mask = np.arange(len(head) + len(ids)) >= len(head)
    tokens = np.array([*head, *ids])
    rollout = Rollout(prompt, number, tokens, mask, logprobs, "stop", 0, f"<think>\n{text}")
    right = float(answer.partition(">")[2] == prompt.answer)
    return Scored(rollout, Verdict(right, {"accuracy": right}))


def test_measures_of_choices() -> None:
    p, q = prompt("p", "7 3 5", "7 3 5"), prompt("q", "1 1 1", "1 2 2")
    samples = [
        scored(p, 0, "7 3 1", "<external>7 3 5", 0.8),  # right to ask
        scored(p, 1, "7 3 5", "<internal>7 3 5", 0.6),
        scored(q, 0, "1 1 1", "<external>1 2 2", 0.5),  # wrong to ask
        scored(q, 1, "1 1 1", "<internal>1 1 1", 0.9),
    ]
    m = arbitration_metrics(samples, CHAT)
    short = {key.removeprefix("arbitration/"): value for key, value in m.items()}
    assert short["own"] == 0.75
    assert short["external"] == 0.5
    assert short["oracle"] == 1.0
    assert short["majority"] == 1.0  # p: 7 3 1, 7 3 5 and 7 3 5; q: 1 1 1 twice
    assert short["takes_external"] == short["asked"] == 0.5
    assert short["dealt"] == pytest.approx((0.5 + 1 + 0.5 + 0.5) / 4)
    assert short["gap_closed"] == pytest.approx(0.0)  # 0.75 against 0.75
    assert short["f1_external"] == pytest.approx(2 / 3)
    assert short["f1_internal"] == pytest.approx(4 / 5)
    assert short["rewrites"] == 0
    assert not {"f1_rewrite", "rewrite_right"} & short.keys(), "nobody knows what would have been written"
    assert short["probability"] == pytest.approx((0.8 + 0.6 + 0.5 + 0.9) / 4, abs=1e-6)
    assert short["chosen_right"] == 0.75
    assert short["copied"] == 1.0
    assert arbitration_metrics([replace_field(s) for s in samples], CHAT) == {}


@pytest.mark.parametrize(
    ("answers", "right"),
    [(["7 3 5"], 1.0), (["7 3 5", "7 3 1"], 0.5), (["7 3 1"], 0.0), (["7 3 5", "7 3 5", "9"], 2 / 3)],
)
def test_a_rewrite_is_right_where_it_is_better_than_either(answers: list[str], right: float) -> None:
    p = prompt("p", "7 3 5", "7 3 2")
    rewrites = [scored(p, n, "7 3 1", f"<rewrite>{answer}", 0.8) for n, answer in enumerate(answers)]
    taken = scored(p, 9, "7 3 5", "<internal>7 3 5", 0.6)
    metrics = arbitration_metrics([*rewrites, taken], CHAT)
    assert metrics["arbitration/rewrites"] == len(answers)
    assert metrics["arbitration/rewrite_right"] == pytest.approx(right)
    assert "arbitration/f1_rewrite" not in metrics


def replace_field(scored: Scored) -> Scored:
    return replace(scored, rollout=replace(scored.rollout, prompt=replace(scored.rollout.prompt, fields={})))


def test_the_stage_leaves_demonstrations_that_an_sft_reads(tmp_path: Path) -> None:
    folder, fused, said = tmp_path / "run" / "arbitrate", tmp_path / "fused.jsonl", list[str]()
    folder.mkdir(parents=True)
    line_appender(folder / SAMPLES)(DRAWN[:3])
    line_appender(fused)([sample("neither", "7 3 1")])
    prompts = [*PROMPTS.values()][:3]
    surroundings = context(
        folder, {"strings": prompts}, name="arbitrate", artifact=lambda kind, name: fused, say=said.append
    )
    outcome = run(config(fused_of="fused", asks="if_wrong"), surroundings)
    assert said[-1] == "arbitrate: sampled 3, usable 3, internal 1, external 1, rewrite 1"
    assert (outcome.counts, outcome.metrics["rewrite"]) == ({"sampled": 3, "usable": 3}, 1)
    read = load_distilled(Path(outcome.artifacts["distilled"]), lambda data, split: prompts)
    assert [p.demonstration.response for p in read if p.demonstration] == ["<internal>", "<external>", "<rewrite>7 3 5"]
    assert read[1].fields["external"] == ["7 3 5", "7 3 5", "1 1 1"]  # what the environment is to say


def test_a_prompt_without_a_transcript_stops_the_stage_before_it_samples(tmp_path: Path) -> None:
    prompts = [*PROMPTS.values(), Prompt("bare", (Message("user", "?"),), "7 3 5")]
    with pytest.raises(ValueError, match=r"prompt 'bare' has no transcript of an external recogniser; give its row"):
        run(config(), context(tmp_path / "run" / "arbitrate", {"strings": prompts}))
