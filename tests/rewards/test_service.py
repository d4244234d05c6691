from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rewards.combine import PartConfig, RewardConfig
from rewards.service import RewardService
from rl.config import ConfigError
from rl.types import Clip, Verdict

BOTH = [PartConfig("text", weight=0.8), PartConfig("format", "format", 0.2)]


def test_prove_then_score_in_order(rollout):
    with RewardService(RewardConfig(BOTH)) as service:
        assert service.check_verifiers() == []
        turns = ["<think>a</think>hello", "hello", "<think>a</think>bye", ""]
        scored = service.score([rollout(turn, "hello") for turn in turns] * 50)
    assert [s.verdict.score for s in scored] == pytest.approx([1.0, 0.8, 0.2, 0.0] * 50)
    assert scored[1].verdict.parts == {"accuracy": 1.0, "format": 0.0}
    assert scored[1].verdict.reason == "format: <think> stands 0 times"
    assert [s.verdict.read for s in scored[:4]] == ["hello", "hello", "bye", ""]
    assert (service.scored, service.errors, service.restarts, service.error_share) == (200, 0, 0, 0.0)


def test_every_verifier_of_the_house_proves_itself():
    parts = [PartConfig(name, name) for name in ("math", "choice", "text", "format")]
    parts.append(PartConfig("text", "strict", args={"normalise": False}))
    with RewardService(RewardConfig(parts)) as service:
        assert service.check_verifiers() == []


def test_routing_by_source_and_audio(rollout):
    config = RewardConfig([
        PartConfig("text", when={"source": "words"}),
        PartConfig("math", when={"source": "sums"}),
        PartConfig("format", "format", 0.5, when={"audio": True}),
    ])  # fmt: skip
    with RewardService(config) as service:
        samples = [
            rollout("1/2", "0.5", source="words"),
            rollout("1/2", "0.5", source="sums"),
            rollout("<think>a</think>b", source="sounds", clips=(Clip("a.wav"),)),
            rollout("1/2", "0.5", source="songs"),
        ]
        verdicts = [s.verdict for s in service.score(samples)]
    assert [v.score for v in verdicts] == [0.0, 1.0, 0.5, 0.0]
    assert [dict(v.parts) for v in verdicts] == [{"accuracy": 0.0}, {"accuracy": 1.0}, {"format": 1.0}, {}]
    assert [v.error for v in verdicts[:3]] == [None] * 3
    assert verdicts[3].error == "no reward part applies to a prompt of source 'songs' without audio"


def test_ready_streams_in_order_of_arrival(rollout, folder: Path, tmp_path: Path):
    with RewardService(RewardConfig([PartConfig("hostile.py:verify")], workers=2), folder) as service:
        assert service.take_finished(60.0) == []  # nothing is pending: no waiting
        service.check_verifiers()
        service.submit(rollout(f"await {tmp_path / 'go'}"))
        service.submit(rollout("good"))
        assert service.pending == 2
        assert [s.rollout.text for s in service.take_finished(60.0)] == ["good"]
        assert service.take_finished(0.0) == []
        (tmp_path / "go").touch()
        assert [s.rollout.text for s in service.take_finished(60.0)] == [f"await {tmp_path / 'go'}"]
        assert service.pending == 0


def test_threads_get_their_own_results(rollout):
    got: dict[int, list[float]] = {}
    with RewardService(RewardConfig([PartConfig("text")], workers=2)) as service:

        def work(n: int) -> None:
            turns = [rollout("yes" if i % (n + 2) else "no", "yes") for i in range(100)]
            got[n] = [s.verdict.score for s in service.score(turns)]

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert service.take_finished() == []
    assert got == {n: [float(i % (n + 2) > 0) for i in range(100)] for n in range(4)}


def test_closing_ends_every_wait_in_one_error(rollout, folder: Path, tmp_path: Path):
    errors: list[str] = []
    service = RewardService(RewardConfig([PartConfig("hostile.py:verify")]), folder)
    service.start()
    waiting = rollout(f"await {tmp_path / 'never'}")

    def expect_error(wait: Callable[[], object]) -> None:
        with pytest.raises(ValueError, match="closed") as error:
            wait()
        errors.append(str(error.value))

    waits = (lambda: service.score([waiting]), lambda: service.judge_parts([0], [waiting]))
    threads = [threading.Thread(target=expect_error, args=(wait,), daemon=True) for wait in waits]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    service.close()
    for thread in threads:
        thread.join(10.0)
    assert errors == ["the reward service was closed before all verdicts had come"] * 2
    expect_error(lambda: service.score([waiting]))
    expect_error(lambda: service.submit(waiting))
    service.close()


def test_too_many_errors_stop_a_run(rollout, folder: Path):
    config = RewardConfig([PartConfig("hostile.py:verify")], max_error_share=0.25)
    with RewardService(config, folder) as service:
        service.score([rollout("raise a"), *[rollout("good")] * 7])
        service.check_errors()
        service.score([rollout("raise b")] * 4)
        assert service.error_share == pytest.approx(5 / 12)
        with pytest.raises(ValueError, match=r"5 of the last 12 .*share: 0.25\); 4 times: accuracy: RuntimeError: b"):
            service.check_errors()


def test_one_part_that_crashes_makes_the_whole_an_error(rollout, folder: Path):
    parts = [PartConfig("hostile.py:verify", weight=0.8), PartConfig("format", "format", 0.2)]
    with RewardService(RewardConfig(parts), folder) as service:
        raised, ended = (s.verdict for s in service.score([rollout("raise it"), rollout("os._exit")]))
    assert raised.error == "accuracy: RuntimeError: it"
    assert raised.parts == {"format": 0.0}
    assert ended.error == "accuracy: the verifier ended its process (exit status 4)"


GOLD = """
import time
from rewards.verifiers import Case
from rl.types import Verdict
GOLD = [Case("yes", "yes"), Case("no", "yes", equal=False), Case("maybe", "yes", score=(0.4, 0.6))]
def right(prompt, rollout, scale=1.0):
    return Verdict({"yes": 1.0, "maybe": 0.5}.get(rollout.text, 0.0) * scale)
def generous(prompt, rollout):
    return Verdict(1.0)
def slow(prompt, rollout):
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("function", "args", "message"),
    [
        ("right", {}, None),
        ("right", {"scale": 0.9}, r"'own.py:right' fails its GOLD\[0\]: 'yes' .* should score 1.0; scored 0.9"),
        ("generous", {}, r"'own.py:generous' fails its GOLD\[1\]: 'no' against gold 'yes' should score below 1.0"),
        ("slow", {}, r"'own.py:slow' fails its GOLD\[0\]: .*; gave no answer within 0.6 s"),
    ],
)
def test_a_verifier_of_the_users_own_must_judge_its_gold(tmp_path: Path, function, args, message):
    (tmp_path / "own.py").write_text(GOLD)
    config = RewardConfig([PartConfig(f"own.py:{function}", args=args)], deadline_s=0.1 if function == "slow" else 60.0)
    with RewardService(config, tmp_path) as service:
        if message is None:
            assert service.check_verifiers() == []
        else:
            with pytest.raises(ValueError, match=message):
                service.check_verifiers()


def test_arguments_that_every_case_covers_are_tried_too():
    for name, args, message in (
        (
            "length",
            {"max_tokens": 4, "buffer": 5},
            "'length' cannot judge with its args .*needs 0 < buffer ≤ max_tokens",
        ),
        ("numeric", {"relative": -5}, "'numeric' fails its GOLD.*must not be negative; got 0 and -5"),
    ):
        with (
            RewardService(RewardConfig([PartConfig(name, args=args)])) as service,
            pytest.raises(ValueError, match=message),
        ):
            service.check_verifiers()


CASE = "from rewards.verifiers import Case\nGOLD = [Case({})]\ndef verify(prompt, rollout): ..."


def test_a_verifier_without_gold_is_a_warning(folder: Path):
    with RewardService(RewardConfig([PartConfig("hostile.py:verify")]), folder) as service:
        assert service.check_verifiers() == [
            "verifier 'hostile.py:verify' has no GOLD: nothing shows that it judges right"
        ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import nothing_of_that_name\ndef verify(prompt, rollout): ...",
            "'own.py:verify' cannot be loaded: ModuleNot",
        ),
        ("raise SystemExit(2)\ndef verify(prompt, rollout): ...", "'own.py:verify' cannot be loaded: SystemExit: 2"),
        ("import os\nos._exit(7)\ndef verify(prompt, rollout): ...", r"own.py:verify died while starting: .*status 7"),
        ("GOLD = 5\ndef verify(prompt, rollout): ...", "GOLD is 5; make it a list of Case"),
        (CASE.format("{'a': 1}, 'a'"), r"'own.py:verify': GOLD\[0\]: pred is {'a': 1}; make it text"),
        (CASE.format("'a', 2"), r"GOLD\[0\]: gold is 2; make it text, or None"),
        (CASE.format("'a', 'a', score=1.0"), r"GOLD\[0\]: score is 1.0; make it a range such as \(0.4, 0.6\)"),
        ("GOLD = [3]\ndef verify(prompt, rollout): ...", r"GOLD\[0\] holds 3; write Case"),
    ],
)
def test_a_verifier_that_does_not_load_is_said_so(rollout, tmp_path: Path, source: str, message: str):
    (tmp_path / "own.py").write_text(source)
    with RewardService(RewardConfig([PartConfig("own.py:verify")]), tmp_path) as service:
        with pytest.raises(ValueError, match=message):
            service.check_verifiers()
        with pytest.raises(ValueError, match=message):
            service.score([rollout("x")])


def test_an_unknown_verifier_is_refused_before_anything_starts():
    with pytest.raises(ConfigError, match=r"reward.parts\[0\].verifier: unknown verifier 'mth'; did you mean 'math'"):
        RewardService(RewardConfig([PartConfig("mth")]))


def test_a_module_beside_the_recipe(rollout, tmp_path: Path):
    (tmp_path / "ownrules.py").write_text(GOLD)
    with RewardService(RewardConfig([PartConfig("ownrules:right", args={"scale": 0.5})]), tmp_path) as service:
        assert [s.verdict.score for s in service.score([rollout("yes"), rollout("maybe")])] == [0.5, 0.25]


def test_the_verdict_of_a_harness_stands_and_no_verifier_is_asked(rollout):
    own = Verdict(3.0, {"accuracy": 1.0, "style": 0.5})
    judged, unjudged = replace(rollout("bye", "hello"), verdict=own), rollout("bye", "hello")
    with RewardService(RewardConfig(BOTH)) as service:
        scored = service.score([judged, unjudged])
    assert [s.verdict.score for s in scored] == [3.0, 0.0]
    assert scored[0].verdict == own
