"""What `rl check` says of samples that are written while the policy learns."""

from __future__ import annotations

import pytest
from plans import planned

from rl.planning.expected import expect_overrides

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


def test_a_replay_needs_a_run_and_a_course() -> None:
    assert planned(LAG, "rlvr.replay=nowhere").problems == [
        "stages[1].rlvr.replay: nowhere is no directory of a run; name one, such as runs/NAME"
    ]
    assert planned("rlvr.replay=nowhere").problems == [
        "stages[1].rlvr.replay: without a max_lag a run takes the same course anyway; remove it"
    ]
