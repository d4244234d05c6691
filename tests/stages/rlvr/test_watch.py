"""What an rlvr stage makes of second opinions: metrics, marks on the samples, one warning, and a state to go on from."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from samples import scored_sample

from rewards.combine import PartConfig, RewardConfig
from rewards.watch import WatchConfig
from rl.report.page import write_report
from rl.report.tables import show
from rl.run.alarm import Divergence
from rl.run.tracker import Tracker, read_warnings, rollout_file
from rl.stages.rlvr.recorder import Recorder
from rl.stages.rlvr.watch import Watch, mark_shapes
from rl.stages.scoring import sample_metrics
from rl.terminal import console
from rl.types import Message, Prompt, Scored, Verdict
from rl.workbench.commands import _parse_args

REWARD = RewardConfig([PartConfig("math", args={"unevaluated": "allow"})], watch=[WatchConfig("numeric")])


def sum_sample(id: str, text: str, score: float, **parts: float) -> Scored:
    made = scored_sample(text, score, id, "75", parts={"accuracy": score, **parts})
    return replace(made, rollout=replace(made.rollout, prompt=Prompt(id, (Message("user", "What is 49+26?"),), "75")))


def step(right: int, hacked: int, count: int = 8) -> list[Scored]:
    """Eight groups of as many samples: so many of each right, so many a hack, the others wrong."""
    samples: list[Scored] = []
    for id in map(str, range(8)):
        samples += [sum_sample(id, "75", 1.0, **{"watch/numeric": 1.0})] * right
        samples += [sum_sample(id, "The answer is 49+26.", 1.0, **{"watch/numeric": 0.0})] * hacked
        samples += [sum_sample(id, "74", 0.0, **{"watch/numeric": 0.0})] * (count - right - hacked)
    return samples


def observe(watch: Watch, samples: list[Scored]) -> tuple[dict[str, float], dict[str, Divergence]]:
    return watch.observe([mark_shapes(samples)])


def test_metrics_of_a_step():
    watch = Watch(REWARD)
    metrics, divergences = observe(watch, step(2, 2))
    assert metrics == {
        "watch/parroted": 0.5, "watch/listed": 0.0, "watch/empty": 0.0, "watch/numeric": 0.25, "watch_alarm": 0.0,
    }  # fmt: skip
    assert divergences == {}
    assert "part/watch/numeric" not in sample_metrics(step(2, 2))
    assert sample_metrics(step(2, 2))["part/accuracy"] == 0.5


@pytest.mark.parametrize("watch", [[], [WatchConfig("numeric")]])
def test_a_hack_is_warned_of_once(watch: list[WatchConfig]):
    watcher = Watch(replace(REWARD, watch=watch))
    warnings = [observe(watcher, step(1, min(number, 6)))[1] for number in range(12)]
    (number,) = [i for i, divergences in enumerate(warnings) if divergences]
    assert set(warnings[number]) == {"solved", *(w.title for w in watch)}
    assert observe(watcher, step(1, 6))[0]["watch_alarm"] == 1.0


def test_an_honest_rise_is_no_reason_for_a_warning():
    watcher = Watch(REWARD)
    assert not any(observe(watcher, step(min(number, 6), 1))[1] for number in range(12))


def test_the_warning_says_what_how_much_and_what_next(tmp_path: Path):
    watcher = Watch(REWARD)
    rises = {"numeric": Divergence(4, (0.22, 0.35), (0.03, 0.01))}
    assert watcher.describe(rises, [mark_shapes(step(1, 4))], 8, "rlvr", tmp_path) == (
        "rlvr 'rlvr', step 8: the reward may be hacked. accuracy (math) rises from 0.22 to 0.35 within 8 steps, but its "
        "second opinion numeric goes from 0.03 to 0.01; 'The answer is 49+26.' to 'What is 49+26?' (gold 75) scores 1. "
        "Next: `rl verifiers attack math --arg unevaluated=allow`, and read the samples in "
        f"{tmp_path}/rollouts/rlvr-000008.parquet"
    )
    rises = {"solved": Divergence(3, (0.25, 0.5), (0.125, 0.125))}
    text = watcher.describe(rises, [mark_shapes(step(1, 4))], 8, "rlvr", tmp_path)
    assert "but without the answers that only say the question again it goes from 0.12 to 0.12; 'The answer" in text
    both = {"numeric": Divergence(3, (0.25, 0.5), (0.1, 0.0)), **rises}
    text = watcher.describe(both, [mark_shapes(step(1, 4))], 8, "rlvr", tmp_path)
    assert "numeric goes from 0.10 to 0.00, and without the answers that take no solving it goes from 0.12" in text
    # an opinion on which the last step has no example
    assert "0.12. Next" in watcher.describe(rises, [mark_shapes(step(1, 0))], 8, "rlvr", tmp_path)


def test_a_judge_is_not_attacked_and_a_long_example_is_cut(tmp_path: Path):
    config = RewardConfig([PartConfig("judge", "quality")], watch=[WatchConfig("length", "short", of="quality")])
    text = "word\n" * 100
    sample = scored_sample(text, 0.0, "x", None, parts={"quality": 0.9, "watch/short": 0.0})
    said = Watch(config).describe({"short": Divergence(3, (0.1, 0.9), (0.5, 0.0))}, [[sample]], 6, "rlvr", tmp_path)
    assert "quality (judge) rises from 0.10 to 0.90 within 6 steps, but its second opinion short goes from 0.50" in said
    assert "word word…' to '2 + 2?' scores 0.9. Next: read the samples" in said
    assert "verifiers attack" not in said
    assert "\n" not in said
    whole = RewardConfig([PartConfig("length", "short")])
    said = Watch(whole).describe({"solved": Divergence(3, (0.1, 0.9), (0.1, 0.1))}, [[sample]], 6, "rlvr", tmp_path)
    assert "the score rises" in said


def test_an_opinion_is_about_its_own_part_and_its_own_prompts():
    watch = [WatchConfig("text", "strict", of="format"), WatchConfig("numeric")]
    watcher = Watch(RewardConfig([PartConfig("text"), PartConfig("format", "format")], watch=watch))
    for number in range(10):
        rise = 0.1 * number
        parts = {"accuracy": 0.5, "format": rise, "watch/strict": 0.9 * rise}
        both = [scored_sample("5", 0.7, str(i), "5", parts=parts) for i in range(16)]
        # no opinion `numeric` on these: neither counts
        assert observe(watcher, both)[1] == {}
    assert watcher.histories["numeric"].rows == []
    assert watcher.histories["strict"].steps == 10


def test_errors_are_counted_and_kept_apart():
    good, bad = sum_sample("x", "75", 1.0, **{"watch/numeric": 1.0}), sum_sample("x", "75", 1.0)
    failed = replace(bad, verdict=replace(bad.verdict, parts={**bad.verdict.parts, "watch/numeric/error": 1.0}))
    erred = replace(bad, verdict=Verdict(error="hung"))
    metrics, _ = observe(Watch(REWARD), [good, failed, erred])
    assert (metrics["watch/numeric"], metrics["watch_errors/numeric"]) == (1.0, 1.0)
    assert observe(Watch(REWARD), [erred])[0]["watch/parroted"] == 0.0


def test_scores_beyond_one_are_no_larger_rise():
    watcher = Watch(RewardConfig([PartConfig("text", "words", weight=5.0)]))
    samples = [scored_sample("5", score, str(i), "5", parts={}) for i, score in enumerate((5.0, -2.0))]
    observe(watcher, samples)
    assert watcher.histories["solved"].rows[0][:2] == [2.0, 1.0]


def stage(folder: Path, said: list[str]) -> Recorder:
    tracker = Tracker(folder, "rlvr")
    cluster = SimpleNamespace(model=SimpleNamespace(dtype="float32"))
    context: Any = SimpleNamespace(tracker=tracker, name="rlvr", folder=folder, say=said.append, cluster=cluster)
    stream: Any = SimpleNamespace(scorer=SimpleNamespace(rewards=SimpleNamespace(config=REWARD, folder=None)), draws=[])
    config: Any = SimpleNamespace(
        build_objective=lambda: None, samples_per_prompt=8, max_sequence_tokens=64, max_logprob_gap=None
    )
    nothing: Any = None
    return Recorder(config, context, nothing, stream, nothing)


def test_the_warning_stands_on_the_terminal_in_the_metrics_and_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    said: list[str] = []
    recorder = stage(tmp_path, said)
    for number in range(10):
        recorder.stream.draws = [step(1, min(number, 6))]
        metrics = recorder.watch_reward(number)
        recorder.context.tracker.record(number, metrics)
    (text,) = read_warnings(tmp_path)
    assert said == [f"warning: {text}"]
    assert metrics["watch_alarm"] == 1.0
    page = write_report(tmp_path).read_text()
    assert page.count('<p class="warning">') == 1
    assert "the reward may be hacked" in page
    assert "Second opinions" in page
    console().print(show(tmp_path))
    assert "warning: rlvr 'rlvr', step" in capsys.readouterr().out
    columns = pq.read_table(rollout_file(tmp_path, "rlvr", 9)).to_pydict()
    assert columns["part/watch/parroted"].count(1.0) == 48
    assert columns["part/watch/numeric"].count(1.0) == 8
    recorder.context.tracker.rewind(2)
    assert read_warnings(tmp_path) == []


def test_a_resumed_stage_warns_at_the_same_step():
    whole, cut = Watch(REWARD), Watch(REWARD)
    for number in range(10):
        state = json.loads(json.dumps(cut.state))
        cut = Watch(REWARD)
        cut.restore(state)
        assert observe(cut, step(1, min(number, 6))) == observe(whole, step(1, min(number, 6)))
    assert cut.has_warned


def test_the_command_of_the_warning_can_be_copied(tmp_path: Path):
    (tmp_path / "my recipe").mkdir()
    (tmp_path / "my recipe" / "own.py").write_text("def verify(prompt, rollout, **args): ...")
    args = {"words": "a b's", "number": "1", "list": ["x", None, 1e-05], "flag": True, "odd": "[", "line": "a\nb"}
    watcher = Watch(RewardConfig([PartConfig("own.py:verify", args=args)]), tmp_path / "my recipe")
    said = watcher.describe({"solved": Divergence(3, (0.1, 0.9), (0.1, 0.1))}, [], 6, "rlvr", tmp_path)
    line = said.partition("Next: `")[2].partition("`, and ")[0]
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
    rl, verifiers, attack, verifier, *options = words.stdout.split("\0")[:-1]
    assert (rl, verifiers, attack, verifier) == ("rl", "verifiers", "attack", f"{tmp_path}/my recipe/own.py:verify")
    assert options[::2] == ["--arg"] * len(args)
    assert _parse_args(options[1::2]) == args
