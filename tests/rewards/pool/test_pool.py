from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rewards.combine import PartConfig, RewardConfig
from rewards.deadline import list_children
from rewards.pool.pool import Pool, Results
from rewards.pool.work import Call
from rewards.service import RewardService
from rl.types import Scored

DEADLINE_S = 0.5  # of CPU time, for samples that must miss it; good ones use next to none
PATIENCE_S = 60.0  # for events that must happen, however busy the machine


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], object]) -> None:
    due = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < due
        time.sleep(0.01)


@pytest.fixture(scope="module")
def hostile():
    config = RewardConfig([PartConfig("hostile.py:verify")], deadline_s=PATIENCE_S, memory_mb=128)
    with RewardService(config, Path(__file__).parents[1]) as service:
        yield service


@pytest.fixture(scope="module")
def hurried():
    config = RewardConfig([PartConfig("hostile.py:verify")], deadline_s=DEADLINE_S)
    with RewardService(config, Path(__file__).parents[1]) as service:
        yield service


def score_amid_good_ones(service: RewardService, rollout, deed: str, answer: str | None = None) -> Scored:
    """Score one sample amid good ones, all of which must be scored, in order."""
    rollouts = [rollout(f"good {i}") for i in range(10)]
    rollouts.insert(4, rollout(deed, answer))
    scored = service.score(rollouts)
    assert [s.rollout for s in scored] == rollouts
    assert all(s.verdict.score == 0.5 and s.verdict.error is None for i, s in enumerate(scored) if i != 4)
    return scored[4]


@pytest.mark.parametrize(
    ("deed", "error", "restarts"),
    [
        ("exit", "accuracy: SystemExit: 3", 0),
        ("os._exit", "accuracy: the verifier ended its process (exit status 4)", 1),
        ("segfault", "accuracy: the verifier's process was ended by SIGSEGV", 1),
        ("signal 40", "accuracy: the verifier's process was ended by signal 40", 1),  # of real time: it has no name
        ("memory", "accuracy: out of memory (memory_mb: 128)", 2),  # the second time in a fresh worker
        ("raise no luck", "accuracy: RuntimeError: no luck", 0),
        ("recurse", "accuracy: RecursionError: maximum recursion depth exceeded", 0),
        ("none", "accuracy: answered NoneType, not a Verdict(score=…) of rl.types", 0),
        ("score 2.0", "accuracy: score 2.0 is not a number in [0, 1]", 0),
        ("score nan", "accuracy: score nan is not a number in [0, 1]", 0),
        ("part inf", "accuracy: part 'tone' is inf", 0),
        ("stray nonsense", "accuracy: the verifier", 1),
        ("stray 1", "accuracy: the verifier", 1),
        ("stray {}", "accuracy: the verifier", 1),
        ("stray []", "accuracy: the verifier", 1),
        ('stray {"ready": 1}', "accuracy: the verifier", 1),
        ("stray [1, 0, 1.0, {}, null, null, null, true]", "accuracy: the verifier", 1),
        pytest.param("stray " + 100_000 * "[", "accuracy: the verifier", 1, id="stray nested"),
    ],
)
def test_an_error_costs_its_own_sample_only(hostile, rollout, deed: str, error: str, restarts: int):
    before = hostile.restarts
    verdict = score_amid_good_ones(hostile, rollout, deed).verdict
    assert verdict.error is not None
    assert verdict.error.startswith(error)
    assert verdict.score == 0.0
    assert hostile.restarts - before == restarts


def list_forkservers() -> list[int]:
    """Return the process ids of this process's forkservers, the youngest last."""
    children = [
        pid for pid in list_children(os.getpid()) if b"serve_forks" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    # By the time when it began, not by its number: the kernel gives numbers anew once it has given the largest.
    return sorted(children, key=start_time)


def start_time(pid: int) -> int:
    """Return when a process began, in clock ticks since the machine started: field 22 of proc(5)'s `stat`."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    return int(after_name.split()[19])


@pytest.mark.parametrize("workers", [1, 3])
def test_a_verifier_that_kills_the_forkserver_costs_its_own_sample_only(rollout, folder: Path, workers: int):
    """Those that are judged beside it are judged again, and so is it, once, alone."""
    rollouts = [rollout("parent" if i == 4 else "sleep 0.1") for i in range(12)]
    config = RewardConfig([PartConfig("hostile.py:verify")], workers=workers, deadline_s=PATIENCE_S)
    with RewardService(config, folder) as service:
        verdicts = [scored.verdict for scored in service.score(rollouts)]
    lost = "accuracy: the verifier's process was lost with the one that had forked it"
    assert [verdict.error for verdict in verdicts] == [lost if i == 4 else None for i in range(12)]


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_forkserver_that_is_killed_from_outside_costs_no_sample_anything(
    rollout, folder: Path, tmp_path: Path, is_busy: bool
):
    (tmp_path / "later").touch()
    config = RewardConfig([PartConfig("hostile.py:verify")], workers=2, deadline_s=PATIENCE_S)
    with RewardService(config, folder) as service:
        service.start()
        forkservers = list_forkservers()  # those of other tests' services too
        rollouts = [rollout(f"await {tmp_path / ('go' if i < 2 else 'later')}") for i in range(8)]
        if is_busy:
            for sample in rollouts:
                service.submit(sample)
            time.sleep(0.3)
        os.kill(forkservers[-1], signal.SIGKILL)
        wait_until(lambda: not set(list_forkservers()) <= set(forkservers))
        (tmp_path / "go").touch()
        if not is_busy:
            for sample in rollouts:
                service.submit(sample)
        samples: list[Scored] = []
        while len(samples) < len(rollouts) and (ready := service.take_finished(PATIENCE_S)):
            samples += ready
    assert sorted(map(id, (s.rollout for s in samples))) == sorted(map(id, rollouts))
    assert {(s.verdict.score, s.verdict.error) for s in samples} == {(0.5, None)}


def is_in(pool: Pool, function: str) -> bool:
    """Return True while the pool's thread is in this function of its module, or in what that calls."""
    frame = sys._current_frames().get(pool._thread.ident or 0)
    while frame is not None and frame.f_code.co_name != function:
        frame = frame.f_back
    return frame is not None


@pytest.mark.parametrize("dies", ["worker", "forkserver"])
def test_samples_sent_to_a_dead_worker_are_judged_by_another(rollout, folder: Path, tmp_path: Path, dies: str):
    """The pool's thread is kept between its wake-up by a sample and the sending until the idle worker is dead."""
    results: list[Results] = []
    pool = Pool([Call("hostile.py:verify", {})], folder, workers=1, deadline_s=PATIENCE_S, memory_mb=128)
    try:
        with pool.condition:
            pool.submit(rollout("pid"), (0,), results.append)
            assert pool.condition.wait_for(lambda: results, PATIENCE_S)
        worker = int(results.pop()[0].reason)
        time.sleep(0.2)  # the thread has read all and sleeps
        with pool.condition:
            for _ in range(3):
                pool.submit(rollout("good"), (0,), results.append)
            wait_until(lambda: is_in(pool, "_hand_out"))  # the first has woken it; it waits for the lock
            os.kill(worker if dies == "worker" else list_forkservers()[-1], signal.SIGKILL)
            wait_until(lambda: not alive(worker))
        with pool.condition:
            pool.condition.wait_for(lambda: len(results) == 3, PATIENCE_S)
    finally:
        pool.close()
    # One worker's death is its current sample's error; that of the forkserver is nobody's.
    expected = [0.0, 0.5, 0.5] if dies == "worker" else [0.5, 0.5, 0.5]
    assert [result[0].score for result in results] == expected


@pytest.mark.parametrize(
    ("deed", "error"),
    [
        ("loop", "accuracy: used its 0.5 s of CPU time"),
        ("delegate", "accuracy: used its 0.5 s of CPU time"),
        ("sleep 60", "accuracy: gave no answer within 3 s"),
    ],
)
def test_a_missed_deadline_is_an_error_of_its_own_sample(hurried, rollout, deed: str, error: str):
    before = (hurried.restarts, hurried.timeouts)
    assert score_amid_good_ones(hurried, rollout, deed).verdict.error == error
    assert (hurried.restarts, hurried.timeouts) == (before[0] + 1, before[1] + 1)


def test_a_worker_that_gets_no_core_for_longer_than_its_deadline_still_answers(rollout, folder: Path, tmp_path: Path):
    """The worker is stopped in the middle of a sample, as on a machine that is busy with other things."""
    config = RewardConfig([PartConfig("hostile.py:verify")], deadline_s=2.0)
    with RewardService(config, folder) as service:
        worker = int(service.score([rollout("pid")])[0].verdict.reason.removeprefix("accuracy: "))
        service.submit(rollout(f"await {tmp_path / 'go'}"))
        os.kill(worker, signal.SIGSTOP)
        time.sleep(2.2)
        (tmp_path / "go").touch()
        os.kill(worker, signal.SIGCONT)
        (scored,) = service.take_finished(PATIENCE_S)
    assert (scored.verdict.score, scored.verdict.error) == (0.5, None)
    assert (service.restarts, service.timeouts) == (0, 0)


def test_answers_read_together_with_nonsense_count(rollout, folder: Path, tmp_path: Path):
    """The pool's thread is kept from reading until the last of four samples has written into its worker's channel."""
    results: list[Results] = []
    pool = Pool([Call("hostile.py:verify", {})], folder, workers=1, deadline_s=PATIENCE_S, memory_mb=128)
    try:
        with pool.condition:
            for deed in (f"await {tmp_path / 'held'}", "good", "good", "stray nonsense"):
                pool.submit(rollout(deed, str(tmp_path / "done")), (0,), results.append)
            pool.condition.wait_for(lambda: pool.gold is not None or pool.failure, PATIENCE_S)
        wait_until(lambda: not pool.queue)
        with pool.condition:
            (tmp_path / "held").touch()
            wait_until((tmp_path / "done").exists)
        with pool.condition:
            pool.condition.wait_for(lambda: len(results) == 4, PATIENCE_S)
    finally:
        pool.close()
    assert [result[0].score for result in results] == [0.5, 0.5, 0.5, 0.0]
    assert [result[0].error is None for result in results] == [True, True, True, False]


def test_the_output_of_a_verifier_is_dropped(hostile, rollout, capfd):
    assert score_amid_good_ones(hostile, rollout, "print").verdict.score == 0.5
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_costs_the_output_and_no_verdict(rollout, folder: Path, tmp_path: Path):
    for number in range(1, 9):
        (tmp_path / str(number)).symlink_to("/dev/full")
    with RewardService(RewardConfig([PartConfig("hostile.py:verify")]), folder, output=tmp_path) as service:
        (scored,) = service.score([rollout("good")])
    assert (scored.verdict.score, scored.verdict.error, service.restarts) == (0.5, None, 0)


def test_children_die_with_their_verifier(hurried, rollout, tmp_path: Path):
    verdict = score_amid_good_ones(hurried, rollout, "child 60", str(tmp_path / "pids")).verdict
    assert verdict.error == "accuracy: gave no answer within 3 s"
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    wait_until(lambda: not any(map(alive, pids)))


def test_no_secrets_are_inherited(rollout, folder: Path, monkeypatch):
    monkeypatch.setenv("GROUNDTONE_TOKEN", "secret")
    with RewardService(RewardConfig([PartConfig("hostile.py:verify")]), folder) as service:
        names = ("PATH", "GROUNDTONE_TOKEN", "HOME", "RAY_AUTH_TOKEN")
        scored = service.score([rollout(f"environment {name}") for name in names])
    assert [s.verdict.score for s in scored] == [1.0, 0.0, 0.0, 0.0]


def test_a_hang_delays_only_what_was_sent_with_it(rollout, folder: Path, tmp_path: Path):
    """Two workers, sixty samples that sleep 5 ms, and one that waits until all others but those that may have been sent
    along with it are judged: at most 20, as many as a worker gets before the first is timed."""
    config = RewardConfig([PartConfig("hostile.py:verify")], workers=2, deadline_s=PATIENCE_S)
    with RewardService(config, folder) as service:
        service.check_verifiers()
        rollouts = [rollout(f"await {tmp_path / 'go'}" if i == 5 else "sleep 0.005") for i in range(60)]
        for sample in rollouts:
            service.submit(sample)
        samples: list[Scored] = []
        while len(samples) < 40 and (ready := service.take_finished(PATIENCE_S)):
            samples += ready
        assert len(samples) >= 40
        assert all(s.rollout is not rollouts[5] for s in samples)
        (tmp_path / "go").touch()
        while len(samples) < 60 and (ready := service.take_finished(PATIENCE_S)):
            samples += ready
    assert sorted(map(id, rollouts)) == sorted(id(s.rollout) for s in samples)
    assert all(s.verdict.score == 0.5 for s in samples)


def test_a_hang_amid_large_samples_keeps_nobody_else_waiting(rollout, folder: Path, tmp_path: Path):
    """Twenty of them are more than a channel's buffer holds: the pool's thread must not wait for room in it."""
    results: list[Results] = []
    pool = Pool([Call("hostile.py:verify", {})], folder, workers=2, deadline_s=PATIENCE_S, memory_mb=128)
    try:
        with pool.condition:
            for i in range(40):
                deed = f"await {tmp_path / 'go'}" if i == 0 else "good"
                pool.submit(rollout(deed, 30_000 * "x"), (0,), results.append)
            assert pool.condition.wait_for(lambda: len(results) >= 38, PATIENCE_S)
            assert len(results) < 40  # all but the first and what may have been sent with it
            (tmp_path / "go").touch()
            assert pool.condition.wait_for(lambda: len(results) == 40, PATIENCE_S)
    finally:
        pool.close()
    assert [result[0].score for result in results] == 40 * [0.5]


def test_hangs_lose_and_reorder_nothing(rollout, folder: Path):
    config = RewardConfig([PartConfig("hostile.py:verify")], workers=2, deadline_s=DEADLINE_S)
    with RewardService(config, folder) as service:
        rollouts = [rollout("loop" if i in (5, 6, 40) else "sleep 0.005") for i in range(63)]
        scored = service.score(rollouts)
    assert [s.rollout for s in scored] == rollouts
    assert [i for i, s in enumerate(scored) if s.verdict.error] == [5, 6, 40]
    assert (service.restarts, service.timeouts) == (3, 3)


def test_close_takes_workers_and_their_children_along(rollout, folder: Path, tmp_path: Path):
    with RewardService(RewardConfig([PartConfig("hostile.py:verify")]), folder) as service:
        service.submit(rollout("child 60", str(tmp_path / "pids")))
        pids = wait_for_pids(tmp_path / "pids")
        assert all(map(alive, pids))
    wait_until(lambda: not any(map(alive, pids)))


def wait_for_pids(path: Path) -> list[int]:
    wait_until(lambda: path.exists() and len(path.read_text().split()) == 3)
    return [int(pid) for pid in path.read_text().split()]


def test_workers_die_with_their_parent(folder: Path, tmp_path: Path):
    script = f"""
from pathlib import Path
from rewards.combine import PartConfig, RewardConfig
from rewards.service import RewardService
from rewards.verifiers import Case
service = RewardService(RewardConfig([PartConfig("hostile.py:verify")]), Path({str(folder)!r}))
service.submit(Case("child 60", {str(tmp_path / "pids")!r}).rollout())
service.take_finished(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script])
    pids = wait_for_pids(tmp_path / "pids")
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not any(map(alive, pids)))


def test_a_library_that_cannot_be_imported_fails_the_pool():
    pool = Pool([Call("nothing", {})], workers=1, deadline_s=1.0, memory_mb=64)
    try:
        with pool.condition:
            pool.condition.wait_for(lambda: pool.failure is not None, PATIENCE_S)
        assert "nothing died while starting: ModuleNotFoundError: No module named" in str(pool.failure)
    finally:
        pool.close()


def test_orphans_are_reaped_while_their_worker_lives(hostile, rollout, tmp_path: Path):
    assert score_amid_good_ones(hostile, rollout, f"orphan {tmp_path / 'pid'}").verdict.score == 0.5
    wait_until(lambda: not Path("/proc", (tmp_path / "pid").read_text().strip()).exists())


def test_temporary_files_go_with_their_worker(rollout, folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with RewardService(RewardConfig([PartConfig("hostile.py:verify")]), folder) as service:
        assert service.score([rollout("litter x"), rollout("good")])[0].verdict.error is not None
        assert not list(tmp_path.rglob("x*"))
        service.score([rollout("parent"), rollout("litter y")])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_open(rollout, folder: Path):
    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = files()
    for _ in range(3):
        with RewardService(RewardConfig([PartConfig("hostile.py:verify")]), folder) as service:
            service.score([rollout("os._exit"), rollout("good")])
    assert files() == before
