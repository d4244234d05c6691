"""Second opinions judge with the parts and never count."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewards.combine import PartConfig, RewardConfig
from rewards.service import RewardService
from rewards.watch import WatchConfig
from rl.config import ConfigError, build


def test_they_are_parts_of_the_verdict_and_not_of_the_score(rollout):
    strict = WatchConfig("text", "strict", args={"normalise": False})
    config = RewardConfig(
        [PartConfig("text")], watch=[strict, WatchConfig("numeric", when={"source": "sums"})], clip=(0, 1)
    )
    config.validate("reward")
    with RewardService(config) as service:
        assert service.check_verifiers() == []
        samples = [rollout("42.", "42", source="sums"), rollout("hello", "Hello", source="words")]
        first, second = (s.verdict for s in service.score(samples))
    assert (first.score, first.parts) == (1.0, {"accuracy": 1.0, "watch/strict": 0.0, "watch/numeric": 1.0})
    assert (second.score, second.parts) == (1.0, {"accuracy": 1.0, "watch/strict": 0.0})


@pytest.mark.parametrize("deed", ["raise no luck", "loop", "os._exit"])
def test_their_errors_cost_no_verdict(rollout, folder: Path, deed: str):
    watch = [WatchConfig("hostile.py:verify", "bad"), WatchConfig("text", "good")]
    with RewardService(RewardConfig([PartConfig("text")], 0.3, watch=watch), folder) as service:
        (scored,) = service.score([rollout(deed, deed)])
        assert service.errors == 0
    assert scored.verdict.error is None
    assert scored.verdict.score == 1.0
    assert scored.verdict.parts == {"accuracy": 1.0, "watch/bad/error": 1.0, "watch/good": 1.0}
    assert "watch/bad: " in scored.verdict.reason


def test_an_error_of_the_reward_stays_one(rollout, folder: Path):
    config = RewardConfig([PartConfig("hostile.py:verify")], watch=[WatchConfig("text")])
    with RewardService(config, folder) as service:
        (scored,) = service.score([rollout("raise no luck", "yes")])
    assert scored.verdict.error is not None
    assert "no luck" in scored.verdict.error
    assert scored.verdict.parts == {"watch/text": 0.0}


def test_one_that_fails_its_gold_is_named(folder: Path):
    config = RewardConfig([PartConfig("text")], watch=[WatchConfig("wrong_gold.py:verify")])
    (folder / "wrong_gold.py").write_text(
        "from rewards.verifiers import Case\nfrom rl.types import Verdict\nGOLD = [Case('a', 'a')]\n"
        "def verify(prompt, rollout):\n    return Verdict(0.0)\n"
    )
    try:
        with (
            RewardService(config, folder) as service,
            pytest.raises(ValueError, match=r"verifier 'wrong_gold\.py:verify' fails its GOLD\[0\]"),
        ):
            service.check_verifiers()
    finally:
        (folder / "wrong_gold.py").unlink()


@pytest.mark.parametrize(
    ("watch", "says"),
    [
        ([{"verifier": "text"}, {"verifier": "text"}], r"reward\.watch\[1\]: the name 'text' is taken; give it another"),
        ([{"verifier": "text", "name": "parroted"}], r"reward\.watch\[0\]: the name 'parroted' is taken"),
        ([{"verifier": "text", "of": "acuracy"}], r"reward\.watch\[0\]\.of: no part 'acuracy'; did you mean 'accuracy'\?"),
        ([{"verifier": "text", "when": {"sauce": "x"}}], r"reward\.watch\[0\]\.when: unknown key 'sauce'; did you mean"),
        ([{"verifier": "text", "weight": 0}], r"reward\.watch\[0\]: unknown key 'weight'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(watch: list[dict[str, object]], says: str):
    with pytest.raises(ConfigError, match=f"^{says}"):
        build(RewardConfig, {"parts": [{"verifier": "math"}], "watch": watch}, "reward")


def test_no_part_has_their_name():
    with pytest.raises(
        ConfigError, match=r"^reward\.parts: the name 'watch' is that of second opinions; rename the part"
    ):
        build(RewardConfig, {"parts": [{"verifier": "math", "name": "watch"}]}, "reward")
