"""Save and restore, export, the weights that engines get, and what a user sees of mistakes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from safetensors.torch import load_file
from worlds import ragged_batch

from models.load import load_model
from models.settings import ModelConfig
from models.shape import read_shape
from rl.algorithms.objective import Objective
from rl.config import ConfigError, build
from rl.planning.trainer_memory import Settings, trainer_memory
from rl.run.checkpoint import Checkpoints
from rl.run.files import DiskFull
from rl.types import Batch
from rl.workers import trainer
from rl.workers.optimizer import OptimizerConfig
from rl.workers.roles import Absent, gather
from rl.workers.trainer_config import TrainerConfig

IMITATE = Objective(advantage="none", policy_loss="nll", critic=False)
LENGTHS = [5, 30, 12, 7, 21]


@pytest.fixture(scope="module")
def batch() -> Batch:
    return ragged_batch(LENGTHS)


def train(group: Any, role: str, batch: Batch, steps: int) -> list[dict[str, float]]:
    extra = (IMITATE, 64) if role == "policy" else (0.5,)
    return [group.update(batch, [range(len(batch))], [1e-2], *extra).get() for _ in range(steps)]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


CASES = [
    *(("policy", "float32", stage, ranks) for stage in (0, 1, 2, 3) for ranks in (1, 2)),
    *(("policy", "bfloat16", stage, ranks) for stage, ranks in ((0, 1), (1, 2), (2, 2), (3, 2))),
    ("critic", "float32", 0, 1),
    ("critic", "float32", 3, 2),
    ("critic", "bfloat16", 1, 2),
]


@pytest.mark.parametrize(("role", "dtype", "stage", "ranks"), CASES)
def test_a_restored_trainer_takes_the_very_step_it_would_have_taken(
    worlds: Callable[[int], Any],
    untied: Path,
    batch: Batch,
    tmp_path: Path,
    role: str,
    dtype: str,
    stage: int,
    ranks: int,
) -> None:
    world = worlds(ranks)
    group = world.load(role, untied, stage, clipping=0.5, dtype=dtype)
    train(group, role, batch, 2)
    group.save(tmp_path)
    assert {f.suffix for f in tmp_path.rglob("*") if f.is_file()} <= {".safetensors", ".json", ".jinja"}, (
        "nothing pickled"
    )
    expected = train(group, role, batch, 1), world.parameters(role)
    group = world.load(role, tmp_path, stage, clipping=0.5, dtype=dtype)
    group.restore_optimizer(tmp_path)
    (report,), parameters = train(group, role, batch, 1), world.parameters(role)
    assert [report] == expected[0]
    assert same(parameters, expected[1])


def test_ranks_on_one_machine_listen_on_loopback_alone(worlds: Callable[[int], Any], untied: Path) -> None:
    world = worlds(2)
    world.load("policy", untied)
    for addresses in ray.get([actor.listening.remote() for actor in world.actors]):
        assert len(addresses) > 1, "Ray's socket and gloo's"
        assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_rank_holds_what_the_plan_says(worlds: Callable[[int], Any], untied: Path, batch: Batch, stage: int) -> None:
    """Weights, gradients and optimizer states in bfloat16, as the second step is taken."""
    small: dict[str, int] = {"reduce_bucket_size": 1}
    if stage == 3:
        small |= {"stage3_param_persistence_threshold": 0, "stage3_prefetch_bucket_size": 0}
    world = worlds(2)
    world.everyone("clear")
    group = world.load("policy", untied, stage, dtype="bfloat16", **small)
    world.everyone("watch", "policy")
    train(group, "policy", batch, 2)
    shape = read_shape(ModelConfig(path=str(untied)))
    assert shape is not None
    parts = trainer_memory("policy", shape, Settings("bfloat16", stage, 2, 1, False, False))
    told = parts["weights"] + parts["gradients"] + parts["optimizer"]
    assert world.everyone("last_noted") == [pytest.approx(told, rel=0.06)] * 2


@pytest.mark.parametrize(("dtype", "stage"), [("float32", 0), ("bfloat16", 1), ("bfloat16", 2), ("bfloat16", 3)])
def test_states_that_leave_between_turns_change_no_bit(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, tmp_path: Path, dtype: str, stage: int
) -> None:
    world, outcomes = worlds(1), []
    for leaves in (False, True):
        policy = world.load("policy", untied, stage, dtype=dtype)
        train(policy, "policy", batch, 1)
        if leaves:
            (gone,) = world.everyone("leave", "policy")
            weights = sum(tensor.numel() for tensor in world.parameters("policy").values())
            # Both moments; and of 16 bits the float32 master weights.
            assert gone >= (8 if dtype == "float32" else 12) * weights
            assert policy.logprobs(batch).get().isfinite().all()  # computed without them
            policy.save(tmp_path)
            policy.restore_optimizer(tmp_path)
        train(policy, "policy", batch, 2)
        outcomes.append(world.parameters("policy"))
    assert same(*outcomes)


@pytest.mark.parametrize(("dtype", "stage"), [("float32", 0), ("bfloat16", 1), ("bfloat16", 3)])
def test_an_optimizer_on_the_host_takes_the_same_step(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, dtype: str, stage: int
) -> None:
    world, outcomes = worlds(1), []
    for zero in ({}, {"offload_optimizer": {"device": "cpu", "pin_memory": False}}):
        train(world.load("policy", untied, stage, dtype=dtype, **zero), "policy", batch, 2)
        outcomes.append(world.parameters("policy"))
    for name, weight in outcomes[0].items():
        torch.testing.assert_close(outcomes[1][name], weight, atol=1e-4, rtol=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", ["tied", "untied"])
def test_engines_get_what_is_exported(
    worlds: Callable[[int], Any], request: pytest.FixtureRequest, batch: Batch, tmp_path: Path, dtype: str, model: str
) -> None:
    """In one step of ZeRO-3 on two ranks, where nobody holds the whole model; and export outlives what it began from."""
    import ray

    source = Path(shutil.copytree(request.getfixturevalue(model), tmp_path / "source"))
    world = worlds(2)
    group = world.load("policy", source, 3, dtype=dtype, stage3_param_persistence_threshold=0)
    train(group, "policy", batch, 1)
    tokenizer = {f.name: f.read_bytes() for f in source.glob("*token*")}
    shutil.rmtree(source)
    group.export(tmp_path / "out")
    exported = load_file(tmp_path / "out" / "model.safetensors")
    assert {f.name: f.read_bytes() for f in (tmp_path / "out").glob("*token*")} == tokenizer
    earlier = group.weights().buckets
    sent = {name: array for bucket in group.weights().buckets for name, array in ray.get(bucket["tensors"]).items()}
    assert earlier == [], "one version at a time is in Ray's store"
    host = {n: torch.from_numpy(a.copy()) for n, a in sent.items()}
    assert same({n: t.view(torch.bfloat16) if dtype == "bfloat16" else t for n, t in host.items()}, exported)
    assert ("lm_head.weight" in exported) == (model == "untied")
    loaded = dict(load_model(tmp_path / "out", dtype).named_parameters())  # type: ignore[arg-type]
    trained = {n.removeprefix("lm."): t for n, t in world.parameters("policy").items()}
    assert same({n: t.detach() for n, t in loaded.items()}, trained)


def test_logprobs_and_values_come_in_the_order_of_the_batch(
    worlds: Callable[[int], Any], untied: Path, batch: Batch
) -> None:
    found = []
    for ranks in (1, 2):
        policy, critic = (worlds(ranks).load(role, untied) for role in ("policy", "critic"))
        policy.temperature = 0.7
        train(critic, "critic", batch, 2)
        found.append(torch.stack([a.detach() for a in gather(policy.logprobs(batch), critic.values(batch))]))
        policy.load(untied, ModelConfig(path=str(untied)), OptimizerConfig())
        assert policy.temperature == 1.0, "a model that is loaded anew is not the one that was sampled from"
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)
    from models.heads import LogprobModel

    with torch.no_grad():
        expected, _ = LogprobModel(untied, "float32")(batch.tokens_T, batch.lengths_N, batch.action_mask_T, 0.7)
    torch.testing.assert_close(found[0][0], expected, atol=1e-5, rtol=0)


def test_ranks_are_sent_each_sequence_once(worlds: Callable[[int], Any], untied: Path, batch: Batch) -> None:
    world, whole = worlds(2), sum(LENGTHS)
    for role in ("policy", "critic"):
        group = world.load(role, untied)
        (group.logprobs if role == "policy" else group.values)(batch).get()
        received = world.everyone("tokens_received")
        assert sum(received) == whole
        assert max(received) < whole
        train(group, role, batch, 1)
        assert sum(world.everyone("tokens_received")) == whole


def test_a_model_that_is_not_there_is_one_line(worlds: Callable[[int], Any], tmp_path: Path) -> None:
    for role in ("policy", "critic"):
        with pytest.raises(ValueError, match=rf"^model {tmp_path}: ") as error:
            worlds(1).load(role, tmp_path)
        assert "\n" not in str(error.value)


def test_a_full_disk_leaves_the_last_checkpoint(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, small_disk: Path
) -> None:
    group = worlds(1).load("policy", untied)
    train(group, "policy", batch, 1)
    checkpoints = Checkpoints(small_disk, keep=2)
    checkpoints.save(1, {}, lambda folder: (folder / "a").write_text("whole"))  # type: ignore[arg-type, return-value]
    with pytest.raises(DiskFull, match=rf"^{small_disk / 'step-000002'}: the disk is full; free some space") as error:
        checkpoints.save(2, {}, group.save)
    assert error.value.errno == errno.ENOSPC
    assert os.listdir(small_disk) == ["step-000001"]
    restored = checkpoints.latest()
    assert restored is not None
    assert restored[1]["step"] == 1


GROWTH = """
import random, torch
def resident(): return int(next(line for line in open("/proc/self/status") if "VmRSS" in line).split()[1]) / 1024
random.seed(0)
before, kept = resident(), []
for _ in range(60):
    tensors = [torch.ones(random.randint(5, 24) << 18) for _ in range(4)]  # of 5 to 24 MiB
    kept.append(torch.ones(4000))
    del tensors
print(resident() - before)
"""
"""A process in which large tensors of many sizes come and go while small ones stay; it prints by how many MiB it has grown."""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads /proc")
def test_large_tensors_go_back_to_the_machine() -> None:
    """Without a trainer's environment the same process keeps several hundred MiB."""
    environment = os.environ | trainer.ENVIRONMENT
    done = subprocess.run([sys.executable, "-c", GROWTH], env=environment, check=True, capture_output=True, text=True)
    assert float(done.stdout) < 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_clipping": 0.0}, "trainer.deepspeed.gradient_clipping: set optimizer.gradient_clipping of a stage"),
        ({"train_batch_size": 8}, "trainer.deepspeed.train_batch_size: set trainer.tokens_per_microbatch instead"),
    ],
)
def test_options_that_would_change_the_gradient_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{message}"):
        build(TrainerConfig, {"deepspeed": options}, "trainer")


def test_the_learning_rate_warms_up_and_decays() -> None:
    def rates(**config: Any) -> list[float]:
        return [OptimizerConfig(learning_rate=8.0, **config).rate(step, 8) for step in range(8)]

    assert rates() == [8.0] * 8
    assert rates(warmup_steps=4)[:5] == [2.0, 4.0, 6.0, 8.0, 8.0]
    assert rates(schedule="linear") == [8, 7, 6, 5, 4, 3, 2, 1]
    assert rates(schedule="linear", warmup_steps=4) == [2, 4, 6, 8, 8, 6, 4, 2]
    cosine = rates(schedule="cosine")
    assert cosine[0] == 8
    assert cosine[4] == pytest.approx(4)
    assert cosine == sorted(cosine, reverse=True)


def test_an_absent_role_answers_and_does_nothing(batch: Batch, tmp_path: Path) -> None:
    absent = Absent()
    assert gather(absent.values(batch), absent.logprobs(batch), absent.update(batch, [[0]])) == (None, None, {})
    absent.save(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"^the batch has no 'ref' yet"):
        batch.add(ref=None).ref_A  # noqa: B018


@pytest.mark.parametrize("role", ["policy", "critic"])
def test_a_full_disk_at_the_export_is_one_line(
    worlds: Callable[[int], Any], untied: Path, small_disk: Path, role: str
) -> None:
    group = worlds(1).load(role, untied)
    with pytest.raises(DiskFull, match=rf"^{small_disk / 'model'}: the disk is full; free some space"):
        group.export(small_disk / "model")
    assert os.listdir(small_disk) == [], "half a model is none, and takes the room that a summary needs"
