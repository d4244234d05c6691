"""An embedded judge: a small random model gives JSON of the form that was asked for, and is believed only with its seal."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from models.settings import ModelConfig
from rewards.combine import PartConfig, RewardConfig
from rewards.contract import Case
from rewards.served import Model
from rewards.service import RewardService
from rl.config import ConfigError
from rl.types import Verdict
from rl.workers.cluster import Cluster
from rl.workers.placement import ClusterConfig
from rl.workers.trainer_config import TrainerConfig
from rollouts.judge_engine import JudgeConfig
from rollouts.serving import EngineConfig

SCHEMA = {
    "type": "object",
    "properties": {"mark": {"type": "integer", "minimum": 0, "maximum": 10}},
    "required": ["mark"],
    "additionalProperties": False,
}


@pytest.mark.timeout(600)
def test_answers_have_the_form_that_is_asked_for(ray_session: None, tied: Path, tmp_path: Path):
    config = JudgeConfig(
        model=str(tied), dtype="float32", max_sequence_tokens=4096, max_answer_tokens=64, kv_cache_mb=64
    )
    header = ClusterConfig(), EngineConfig(), TrainerConfig(), ModelConfig(path=str(tied), think=True)
    judges = {"critic": config, "broken": replace(config, model=str(tmp_path))}
    with Cluster({f"judge {name}" for name in judges}, *header, tied, 64, judges) as cluster:
        cluster.await_judges(["critic"])
        with pytest.raises(ValueError, match=r"^judges\.broken: vLLM did not start: .+; --debug shows all of it$"):
            cluster.await_judges(["critic", "broken"])
        with pytest.raises(ValueError, match=r"^its engine died: .+$"):
            cluster.judge("broken")([([{"role": "user", "content": "Mark this."}], SCHEMA)])
        ask = cluster.judge("critic")
        texts = ask([([{"role": "user", "content": f"Mark {word}."}], SCHEMA) for word in ("this", "that", "both")])
        verdict = judged(ask)
    assert len(texts) == 3
    assert all(0 <= json.loads(text)["mark"] <= 10 for text in texts)
    assert verdict.score == 0.0
    assert re.search("its seal|no JSON", str(verdict.error)), "not believed, whatever its marks"


def judged(ask: Model) -> Verdict:
    config = RewardConfig([PartConfig("judge", args={"served": "critic", "retries": 0, "timeout_s": 120.0})])
    with RewardService(config, models={"critic": ask}) as rewards:
        return rewards.score([Case("Paris", "Paris", question="Where?").rollout()])[0].verdict


def test_mistakes_are_named():
    for values, says in (
        ({"threads": 0}, "threads: must be"),
        ({"max_sequence_tokens": 9}, "no room"),
        ({"dtype": "f"}, "dtype"),
    ):
        with pytest.raises(ConfigError, match=says):
            JudgeConfig(model="m", **values).validate("judges.critic")
