"""What `rl check` says of samples that are written while the policy learns."""

from __future__ import annotations

from pathlib import Path

import pytest
from plans import FIELDS, planned

from rl.planning.expected import expect_overrides
from rl.stages.workload import StagePlan
from rollouts.engine_options import base_options

pytestmark = pytest.mark.usefixtures("alone")
LAG = "rlvr.max_lag=2"


def test_engines_that_rest_beside_trainers_cannot_write_meanwhile() -> None:
    on_gpus = expect_overrides("8x80")
    (problem,) = planned(LAG, *on_gpus).problems
    assert problem == (
        "stages[1].rlvr.max_lag: engines rest while trainers use the same GPUs, so nothing can be written meanwhile; set "
        "cluster.placement=split, or max_lag: 0"
    )
    assert planned(*on_gpus).problems == []
    assert planned(LAG, *on_gpus, "cluster.placement=split", "engines.count=4", "trainer.ranks=2").problems == []
    assert planned(LAG).problems == [], "on a CPU both run"


def test_kept_keys_and_values_need_something_in_flight_and_a_model_that_reads() -> None:
    keep = "engines.kv=keep"
    assert planned(LAG, keep).problems == []
    assert "engines.kv: no stage has a max_lag, so nothing is in flight when weights change" in planned(keep).notes
    listening = {"build": {"hidden_size": 64, "heads": 2, "layers": 1, "audio": {}}}
    (problem,) = planned(LAG, keep, model=listening).problems
    assert problem.startswith("engines.kv: what a listening model has heard is encoded anew")


def test_a_step_under_way_as_weights_change_would_be_misnamed() -> None:
    keep, ahead = "engines.kv=keep", "engines.vllm.async_scheduling=true"
    (problem,) = planned(LAG, keep, ahead).problems
    assert problem.startswith("engines.vllm.async_scheduling: a step would be under way as weights change")
    assert planned(LAG, ahead).problems == [], "what it has computed is dropped then"
    assert planned(LAG, keep, "engines.vllm.async_scheduling=false").problems == []
    for keeps in (True, False):
        options = base_options("model", "float32", 64, keeps)
        assert options.get("async_scheduling", True) is not keeps


@pytest.mark.parametrize(
    ("overrides", "wanted", "rows"),
    [
        ((), 0, 0),
        (("rlvr.max_lag=5",), 0, 0),  # 96 of 100
        (("rlvr.max_lag=6",), 112, 100),
        (("rlvr.limit=20", "rlvr.max_lag=1"), 32, 20),
        (("rlvr.data={words: 0.8, few: 0.2}",), 4, 3),  # 3.2
        (("rlvr.data={words: 0.85, few: 0.15}",), 0, 0),  # 2.4
        (("rlvr.data={words: 0.85, few: 0.15}", "rlvr.max_lag=1"), 5, 3),
        (("rlvr.data={words: 0.5, few: 0.5}", "rlvr.curriculum=shuffled"), 0, 0),
    ],
)
def test_a_source_has_as_many_prompts_as_wait_for_a_result(overrides: tuple[str, ...], wanted: int, rows: int) -> None:
    Path("few.jsonl").write_text("".join(f'{{"question": "f{i}", "answer": "{i}"}}\n' for i in range(3)))
    data = {n: {"source": "jsonl", "path": f"{n}.jsonl", "fields": FIELDS} for n in ("words", "few")}
    problems = planned("rlvr.curriculum=pass_rate", *overrides, data=data).problems
    name = "few" if rows == 3 else "words"
    expected = (
        f"stages[1].rlvr.curriculum: by pass_rate a prompt waits for its result before it comes again; {wanted} of "
    )
    expected += f"'{name}' are under way at once, of {rows}; lower prompts_per_step or max_lag, or set shuffled"
    assert problems == ([expected] if wanted else [])


PACE = (
    "cluster.expect.gpus_per_node=8",
    "cluster.expect.train_tflops=300",
    "cluster.expect.engine_tokens_per_second=2000",
)
APART = ("cluster.placement=split", "engines.count=4", "trainer.ranks=4", "trainer.zero_stage=1")


def rlvr(*overrides: str) -> tuple[StagePlan, list[str]]:
    """The plan of the stage with a lag, and what is noted of it."""
    made = planned(*overrides, *PACE)
    return made.stages[1], [note for note in made.notes if "max_lag" in note]


def test_on_devices_of_their_own_a_step_takes_as_long_as_the_slower_side() -> None:
    sync, none = rlvr(*APART)
    lagging, (note,) = rlvr(*APART, LAG)
    training, sampling = sync.training_seconds, sync.sampling_seconds
    assert (lagging.training_seconds, lagging.sampling_seconds) == (training, sampling)
    assert sync.seconds == pytest.approx(training + sampling)
    assert sampling > training > 0
    # Only the last step's training has nothing beside it.
    assert lagging.seconds == pytest.approx(sampling + training / 100)
    assert lagging.time_formula.startswith("the longer of ")
    assert none == []
    assert "have devices of their own, so a step takes as long as the slower of them: sampling, " in note


def test_on_shared_devices_times_add_up() -> None:
    sync, _ = rlvr()
    lagging, (note,) = rlvr(LAG)
    assert lagging.seconds == sync.seconds > 0
    assert "share GPUs, so the time is that of both" in note
    assert any("share cores, so the time" in note for note in planned(LAG).notes)
    assert not any("max_lag" in note for note in planned(LAG, "cluster.placement=split").notes), (
        "nobody knows the times"
    )


def test_a_replay_needs_a_run_and_a_course() -> None:
    assert planned(LAG, "rlvr.replay=nowhere").problems == [
        "stages[1].rlvr.replay: nowhere is no directory of a run; name one, such as runs/NAME"
    ]
    assert planned("rlvr.replay=nowhere").problems == [
        "stages[1].rlvr.replay: without a max_lag a run takes the same course anyway; remove it"
    ]
