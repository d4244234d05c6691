"""A judge that is not there is told before the first stage, whichever stage asks it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from judge_api import Api

from rewards.verifiers import Case
from rl.recipe import Recipe, load
from rl.runner import run
from rl.runner.reward_services import RewardServices

NOWHERE = {"endpoint": "http://127.0.0.1:9/v1", "model": "m", "retries": 0}


def recipe(stages: list[dict[str, Any]]) -> Recipe:
    words = {"source": "reasoning_gym", "args": {"dataset": "spell_backward", "size": 40}}
    values = {
        "name": "tiny",
        "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
        "data": {"words": words},
    }
    return load({**values, "reward": {"parts": [{"verifier": "text"}]}, "stages": stages})


def asks(args: dict[str, Any], **stage: Any) -> dict[str, Any]:
    parts = [{"verifier": "text"}, {"verifier": "judge", "name": "judged", "only_if": "accuracy", "args": args}]
    return {"data": "words", "max_sequence_tokens": 64, "reward": {"parts": parts}, **stage}


def reward_services(tiny: Recipe, say: Any = lambda text: None) -> RewardServices:
    """Of a run that has no cluster and no models yet."""

    def nothing(*_: Any) -> Any:
        raise AssertionError("asked for what is not there yet")

    return RewardServices(tiny.header.reward, tiny.folder, nothing, nothing, nothing, say)


@pytest.mark.parametrize("key", ["reward", "select_by"])
def test_a_run_does_not_start(tmp_path: Path, key: str) -> None:
    by = {"select_by": {"verifier": "judge", "args": {**NOWHERE, "rubric": "perception"}}}
    distill = asks(NOWHERE) if key == "reward" else {"data": "words", "max_sequence_tokens": 64, **by}
    tiny = recipe([{"sft": {"data": "words"}}, {"distill": distill}])
    messages: list[str] = []
    says = rf"^stages\[1\]\.distill\.{key}: verifier 'judge' fails its GOLD\[0\]: .*the judge cannot be reached"
    with pytest.raises(ValueError, match=says) as caught:
        run(tiny, tmp_path / "run", say=messages.append)
    assert "\n" not in str(caught.value)
    assert not any("stage 1 of 2" in line for line in messages)
    assert not (tmp_path / "run" / "initial").exists(), "the model is not even built"


def test_each_reward_is_checked_once_where_a_stage_will_ask_it(api: Api) -> None:
    at = {"endpoint": api.address, "model": "m", "timeout_s": 10.0}
    tiny = recipe(
        [
            {"curate": {"data": "words"}},
            {"distill": asks(at)},
            {"distill": asks(at, name="more")},
            {"distill": asks(at | {"rubric": {"warm": "It is warm."}}, name="own")},
            {"rlvr": asks(at | {"rubric": "coherence"}, prompts_per_step=4)},
        ]
    )
    messages: list[str] = []
    services = reward_services(tiny, messages.append)
    with services.create(tiny.header.reward) as shared:
        services.check_all(shared, tiny.stages[:1], served=False)
        assert not api.seen, "those of finished stages, or of none, are left alone"
        services.check_all(shared, tiny.stages[1:4], served=False)
        assert len(api.seen) == 5 + 1, "the gold of `right` and a probe"
        services.check_all(shared, tiny.stages, served=True)
        assert len(api.seen) == 5 + 1
        services.check_all(shared, tiny.stages[4:], served=False)
        assert len(api.seen) == 5 + 1 + 4
        services.check_all(shared, tiny.stages[3:4], served=False)
    assert messages == ["warning: verifier 'judge' has no GOLD: nothing shows that it judges right"], "once"


def test_a_model_that_is_yet_to_be_made_is_left_to_its_stage(api: Api) -> None:
    at = {"endpoint": api.address, "model": "m", "timeout_s": 10.0}
    blend = asks(at, prompts_per_step=4)
    blend["reward"]["parts"].append({"verifier": "reward_model", "name": "preferred", "args": {"served": "taste"}})
    pairs = {"data": "words", "max_sequence_tokens": 64}
    tiny = recipe([{"pairs": pairs}, {"reward_model": {"name": "taste", "data": "pairs"}}, {"rlvr": blend}])
    services = reward_services(tiny)
    with services.create(tiny.header.reward) as shared:
        for served in (False, True):
            services.check_all(shared, tiny.stages, served)
    assert len(api.seen) == 5, "its other parts are checked"


def test_a_call_to_a_lost_cluster_keeps_nobody_from_the_next_one(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    services = reward_services(recipe([{"rlvr": asks({"endpoint": api.address, "model": "m"}, prompts_per_step=4)}]))
    models, judged = services.reward_models, list[str]()

    def load(cluster: object, folder: Path) -> None:
        assert models.lock.locked(), "it waits for its turn with the new cluster"
        judged.append(folder.name)
        raise RuntimeError("loaded")

    monkeypatch.setattr(models, "_load", load)
    monkeypatch.setattr(models, "folder", Path)
    monkeypatch.setattr(models, "cluster", lambda: None)

    def score() -> None:
        with pytest.raises(RuntimeError, match="loaded"):
            models.scorer("taste")([Case("yes", "yes").rollout()])

    with models.lock:  # of a call that never returns
        waiting = threading.Thread(target=score, daemon=True)
        waiting.start()
        services.forget_cluster()
        score()
    waiting.join(60)
    assert judged == ["taste", "taste"]
