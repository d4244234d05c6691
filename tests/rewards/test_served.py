"""Models behind parts of a reward: batches, errors, and how they go together with the pool."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue

import pytest

from rewards.combine import PartConfig, RewardConfig
from rewards.served import Batches, Loop, add_metrics
from rewards.service import RewardService
from rl.types import RewardSpan, Rollout, Verdict


def ask_all(batches: Batches[int, int], items: Sequence[int]) -> list[int | BaseException]:
    async def work() -> list[int | BaseException]:
        return await asyncio.gather(*map(batches.ask, items), return_exceptions=True)

    return asyncio.run(work())


def test_what_comes_together_goes_together_one_call_after_the_other():
    sizes: list[int] = []
    busy = threading.Lock()

    def model(items: Sequence[int]) -> list[int]:
        assert busy.acquire(blocking=False), "two calls at once"
        sizes.append(len(items))
        time.sleep(0.01)
        busy.release()
        return [item * 2 for item in items]

    assert ask_all(Batches(model, 16, 5.0), range(40)) == [item * 2 for item in range(40)]
    assert sizes == [16, 16, 8]


def test_one_that_spoils_a_batch_costs_only_itself():
    def model(items: Sequence[int]) -> list[int]:
        return [100 // item for item in items]

    answers = ask_all(Batches(model, 8, 5.0), [1, 2, 0, 4])
    assert answers[:2] == [100, 50]
    assert isinstance(answers[2], ZeroDivisionError)
    assert answers[3] == 25


def test_nobody_is_left_who_waits_for_questions():
    batches = Batches[int, int](lambda items: list(items), 8, 5.0)
    before = set(threading.enumerate())
    assert ask_all(batches, [1, 2]) == [1, 2]
    (thread,) = set(threading.enumerate()) - before
    batches.close()
    thread.join(60.0)
    assert not thread.is_alive()


def test_the_wrong_number_of_answers_is_an_error():
    (answer,) = ask_all(Batches(lambda items: [], 8, 5.0), [1])
    assert str(answer) == "the served model gave 0 answers to 1 questions"


def test_who_waits_too_long_gets_an_error_and_the_next_an_answer():
    hangs = iter([0.6, 0.0])

    def model(items: Sequence[int]) -> Sequence[int]:
        time.sleep(next(hangs))
        return items

    batches = Batches(model, 8, 0.3)

    async def work() -> list[int | BaseException]:
        first = await asyncio.gather(batches.ask(1), batches.ask(2), return_exceptions=True)
        await asyncio.sleep(0.5)
        return [*first, await batches.ask(3)]

    one, two, three = asyncio.run(work())
    assert isinstance(one, TimeoutError)
    assert isinstance(two, TimeoutError)
    assert three == 3


def test_a_hang_costs_those_behind_it_one_more_deadline_in_all():
    is_over = threading.Event()

    def model(items: Sequence[int]) -> Sequence[int]:
        is_over.wait(60)
        return items

    batches = Batches(model, 1, 0.3)

    async def work() -> tuple[list[int | BaseException], int]:
        answers = await asyncio.gather(*map(batches.ask, range(100)), return_exceptions=True)
        is_over.set()
        while True:  # the model's thread is back in a moment
            with contextlib.suppress(TimeoutError):
                return answers, await batches.ask(7)

    start = time.monotonic()
    answers, last = asyncio.run(work())
    assert time.monotonic() - start < 15.0  # a deadline each would take 30 s
    assert [str(answer) for answer in answers[:2]] == ["the served model did not answer within 0.3 s"] * 2
    hangs = "the served model did not answer: it still hangs in an earlier call"
    assert [str(answer) for answer in answers[2:]] == [hangs] * 98
    assert last == 7


def test_an_item_that_its_asker_gave_up_is_not_sent():
    calls: list[Sequence[int]] = []
    has_begun, may_end = threading.Event(), threading.Event()

    def model(items: Sequence[int]) -> Sequence[int]:
        calls.append(items)
        has_begun.set()
        may_end.wait(60)
        return items

    batches = Batches(model, 8, 60.0)

    async def work() -> list[int]:
        first = asyncio.create_task(batches.ask(1))
        await asyncio.to_thread(has_begun.wait, 60)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batches.ask(2), 0.01)
        last = asyncio.create_task(batches.ask(3))
        await asyncio.sleep(0)
        may_end.set()
        return [await first, await last]

    assert asyncio.run(work()) == [1, 3]
    assert calls == [[1], [3]]


def test_metrics_of_several_verifiers_are_added_up_but_for_the_latency():
    metrics = [{"requests": 2.0, "latency": 0.5}, {"requests": 1.0, "latency": 0.25, "cost": 3.0}]
    assert add_metrics(metrics) == {"requests": 3.0, "latency": 0.5, "cost": 3.0}
    assert add_metrics([{"quality/latency": 0.5}, {"quality/latency": 0.25}]) == {"quality/latency": 0.5}


def test_a_crash_in_one_part_leaves_the_others_their_verdicts(rollout, folder: Path):
    """The part that ends its process cannot take the terms after it along, even where it does not count itself."""
    parts = [
        PartConfig("text"),
        PartConfig("hostile.py:verify", "extra", only_if="accuracy"),
        PartConfig("format", "format", 0.25),
    ]
    with RewardService(RewardConfig(parts), folder) as service:
        (scored,) = service.score([rollout("os._exit", "another")])
    assert scored.verdict.error is None
    assert scored.verdict.score == 0.0
    assert scored.verdict.parts == {"accuracy": 0.0, "extra/counted": 0.0, "format": 0.0}


@pytest.mark.parametrize(
    ("verifier", "message"),
    [
        ("text", "the verifiers' pool failed: TypeError: "),
        ("reward_model", "the reward's parts that ask a model failed: TypeError: "),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the pool's thread shows its fault
def test_a_fault_of_ours_between_verdict_and_score_leaves_nobody_waiting(rollout, verifier: str, message: str):
    """A clip that no recipe can have makes the sum fail, in the thread that brings the verdict."""
    config = RewardConfig([PartConfig(verifier, clip=("low", "high"))])  # type: ignore[arg-type]
    errors: list[str] = []
    service = RewardService(config, models={"reward": lambda rollouts: [0.0] * len(rollouts)})

    def score() -> None:
        with pytest.raises(ValueError, match=message) as error:
            service.score([rollout("yes", "yes")])
        errors.append(str(error.value))

    thread = threading.Thread(target=score, daemon=True)
    thread.start()
    thread.join(60.0)
    service.close()
    assert len(errors) == 1


SLOW = """
import time
from rl.types import Verdict
def slow(prompt, rollout):
    time.sleep(60)
def bare(prompt, rollout):
    return Verdict(score=1.0)
def needs(prompt, rollout):
    return Verdict(score=float(prompt.fields["tests"] == 1))
"""


def test_without_gold_a_verifier_must_at_least_answer_in_time(tmp_path: Path):
    (tmp_path / "own.py").write_text(SLOW)
    with RewardService(RewardConfig([PartConfig("own.py:slow")], deadline_s=0.1), tmp_path) as service:
        says = r"'own.py:slow' cannot judge the answer 'yes': gave no answer within 0.6 s"
        with pytest.raises(ValueError, match=says):
            service.check_verifiers()
    for function in ("bare", "needs"):  # what lacks a column of the data is no fault of the verifier
        with RewardService(RewardConfig([PartConfig(f"own.py:{function}")]), tmp_path) as service:
            assert service.check_verifiers() == [
                f"verifier 'own.py:{function}' has no GOLD: nothing shows that it judges right"
            ]


class Marking:
    """A verifier that marks a piece of the sample."""

    gold = None

    async def judge(self, rollout: Rollout) -> Verdict:
        return Verdict(0.5, spans=(RewardSpan(0, 2, 0.5), RewardSpan(1, 2, 0.25, "tokens")))

    def metrics(self) -> Mapping[str, float]:
        return {}

    async def close(self) -> None:
        pass


def test_the_pieces_that_a_model_verifier_marks_are_spans(rollout):
    loop, verdicts = Loop(pytest.fail), SimpleQueue[Verdict]()
    loop.submit(Marking(), rollout("42"), verdicts.put)
    assert verdicts.get(timeout=60).spans == (RewardSpan(0, 2, 0.5), RewardSpan(1, 2, 0.25, "tokens"))
    loop.close([])
