from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.config import ConfigError, build
from rl.planning.expected import expect_overrides
from rl.recipe import load
from rl.workers.counts import fill
from rl.workers.placement import (
    Bundle,
    ClusterConfig,
    Devices,
    ExpectConfig,
    Placement,
    Role,
    bundles,
    describe_misfit,
    describe_shortage,
    roles,
    total,
)
from rl.workers.visible_gpus import check_torch

ROLES = st.dictionaries(
    st.sampled_from(["engine", "policy", "critic", "reference", "teacher"]),
    st.builds(Role, st.integers(1, 4), st.integers(1, 4), st.integers(0, 2)),
    min_size=1,
)


@given(ROLES, st.sampled_from(["colocated", "split"]))
def test_every_actor_has_a_seat_and_its_devices(roles: dict[str, Role], placement: str) -> None:
    placed = bundles(roles, placement)  # type: ignore[arg-type]
    seats = [seat for bundle in placed for seat in bundle.actors]
    assert sorted(seats) == sorted((name, i) for name, role in roles.items() for i in range(role.count))
    for bundle in placed:
        assert bundle.cpus_per_actor * len(bundle.actors) == pytest.approx(bundle.cpus)
        seen = bundle.gpus_by_actor([f"gpu {i}" for i in range(bundle.gpus)])
        for i, device in enumerate(bundle.devices if bundle.gpus else []):
            assert {actor for actor, gpus in seen.items() if f"gpu {i}" in gpus} == set(device)
        assert all(bundle.cpus >= roles[name].cpus and bundle.gpus >= roles[name].gpus for name, _ in bundle.actors)
        for name, i in bundle.actors:
            seen = sum((name, i) in device for device in bundle.devices)
            assert seen == (bundle.gpus if roles[name].gpus > 1 and bundle.places else 1)
    sizes = [len(bundle.actors) for bundle in placed]
    if all(role.gpus <= 1 for role in roles.values()):
        assert max(sizes) - min(sizes) <= 1


def test_a_tensor_parallel_engine_shares_its_gpus_with_a_trainer_on_each() -> None:
    roles = {"engine": Role(2, 3, 4), "policy": Role(8, 1, 1), "critic": Role(4, 1, 1)}
    first, second = bundles(roles, "colocated")
    policy = [("policy", i) for i in range(8)]
    assert first.actors == (("engine", 0), *policy[:4], *(("critic", i) for i in range(4)))
    assert first.places == (None, 0, 1, 2, 3, 0, 1, 2, 3)
    assert first.devices == [[("engine", 0), ("policy", i), ("critic", i)] for i in range(4)]
    assert second == Bundle(4, 4, (("engine", 1), *policy[4:]), (None, 0, 1, 2, 3))
    assert total([first, second]) == (8, 8)  # not 16: each GPU is asked for once
    assert total(bundles(roles, "split")) == (18, 20)


def test_33b_on_eight_nodes_of_eight() -> None:
    roles = {"engine": Role(8, 8, 8), **dict.fromkeys(("policy", "critic"), Role(64, 1, 1))}
    placed = bundles(roles, "colocated")
    assert [bundle.gpus for bundle in placed] == [8] * 8
    assert placed[3].devices[5] == [("engine", 3), ("policy", 29), ("critic", 29)]
    assert describe_misfit(roles, "colocated", ExpectConfig(nodes=8).devices) is None
    assert describe_misfit(roles, "colocated", ExpectConfig(nodes=7).devices) == (
        "cluster: 64 GPUs asked for (8 × engine, 64 × policy, 64 × critic), 56 expected; set engines.count=7 and "
        "trainer.ranks=56"
    )
    assert describe_misfit(roles, "colocated", ExpectConfig(nodes=16, gpus_per_node=4).devices) == (
        "engines.gpus: 8 GPUs on one node asked for, cluster.expect.gpus_per_node is 4; set engines.gpus=4"
    )


def test_the_33b_recipe_puts_each_rank_on_a_gpu_of_its_own_and_an_engine_on_its_eight() -> None:
    recipe = load("step_audio_r1")
    header = recipe.header
    placed = bundles(roles(recipe.roles, header.engines, header.trainer, True, {}), header.cluster.placement)
    names = [[f"{node}:{i}" for i in range(8)] for node in range(8)]
    seen = {
        seat: gpus
        for bundle, ids in zip(placed, names, strict=True)
        for seat, gpus in bundle.gpus_by_actor(ids).items()
    }
    for role in ("policy", "critic"):
        ranks = [seen[role, rank] for rank in range(64)]
        assert all(len(gpus) == 1 for gpus in ranks)
        assert len(set(ranks)) == 64, "no two ranks of a role on a device"
    assert [list(seen["engine", i]) for i in range(8)] == names
    assert seen["policy", 29] == ("3:5",)


RESERVED = """
import os
import ray
from rl.workers.reservation import devices, gpu_environment, reserve
from rl.workers.placement import ClusterConfig, Role, bundles
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as Strategy

ray.init(num_cpus=4, num_gpus=4, include_dashboard=False, object_store_memory=1 << 27, logging_level="error")
placed = bundles({"engine": Role(2, 2, 2), "policy": Role(4, 1, 1)}, "colocated")
group, nodes = reserve(placed, ClusterConfig())
assert len({node.id for node in nodes}) == 1

@ray.remote
class Actor:
    def sees(self):
        return os.environ["CUDA_VISIBLE_DEVICES"]

actors = {}
ids = devices(group, placed)
for i, bundle in enumerate(placed):
    for actor, gpus in bundle.gpus_by_actor(ids[i]).items():
        options = {"num_cpus": bundle.cpus_per_actor, "runtime_env": {"env_vars": gpu_environment(gpus)}}
        actors[actor] = Actor.options(**options, scheduling_strategy=Strategy(group, i)).remote()
seen = ray.get([actor.sees.remote() for actor in actors.values()], timeout=120)
print(dict(zip(map("{0[0]} {0[1]}".format, actors), seen)))
"""


def test_gpus_that_torch_does_not_see_stop_the_run() -> None:
    """torch here is a build for CPUs."""
    check_torch(0)
    with pytest.raises(ValueError, match=r"^cluster: Ray counts 2 GPUs on .*, torch sees 0: it is a build for CPUs; "):
        check_torch(2)


def test_actors_see_the_gpus_that_ray_has_reserved_for_their_bundle() -> None:
    """With four GPUs that Ray only counts."""
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    clean = {name: value for name, value in os.environ.items() if name not in ("CUDA_VISIBLE_DEVICES", "RAY_ADDRESS")}
    done = subprocess.run([sys.executable, "-c", RESERVED], env=clean | path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    assert sorted(seen["engine 0"].split(",") + seen["engine 1"].split(",")) == ["0", "1", "2", "3"]
    assert [seen["policy 0"], seen["policy 1"]] == seen["engine 0"].split(",")
    assert [seen["policy 2"], seen["policy 3"]] == seen["engine 1"].split(",")


@pytest.mark.parametrize(
    ("key", "value"), [("nodes", 0), ("gpus_per_node", -1), ("gpu_memory_gb", 0.0), ("train_tflops", 300.0)]
)
def test_an_impossible_expectation_is_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=r"cluster\.expect"):
        build(ClusterConfig, {"expect": {key: value}}, "cluster")


def test_colocated_roles_take_turns_and_split_ones_do_not() -> None:
    roles = {"engine": Role(2, 1, 0), "policy": Role(1, 1, 0), "critic": Role(1, 1, 0)}
    assert bundles(roles, "colocated") == [
        Bundle(1, 0, (("engine", 0), ("policy", 0))),
        Bundle(1, 0, (("engine", 1), ("critic", 0))),
    ]
    split = bundles(roles, "split")
    assert [bundle.actors for bundle in split] == [
        (("engine", 0),),
        (("engine", 1),),
        (("policy", 0),),
        (("critic", 0),),
    ]
    assert total(split) == (4, 0)
    assert describe_shortage(roles, "split", cpus=4, gpus=0) is None


@pytest.mark.parametrize(
    ("roles", "placement", "cpus", "gpus", "says"),
    [
        ({"engine": Role(2, 1, 1), "policy": Role(2, 1, 1)}, "colocated", 16, 1, "2 GPUs asked for (2 × engine, 2 × policy), 1 present; set engines.count=1 and trainer.ranks=1"),
        ({"engine": Role(1, 1, 1), "policy": Role(2, 1, 1)}, "colocated", 16, 1, "2 GPUs asked for (engine, 2 × policy), 1 present; set trainer.ranks=1"),
        ({"engine": Role(1, 1, 1), "policy": Role(1, 1, 1)}, "split", 16, 1, "2 GPUs asked for (engine, policy), 1 present; set cluster.placement=colocated"),
        ({"engine": Role(4, 1, 1), "policy": Role(2, 1, 1)}, "split", 16, 2, "6 GPUs asked for (4 × engine, 2 × policy), 2 present; set cluster.placement=colocated and engines.count=2"),
        ({"engine": Role(1, 1, 4), "policy": Role(4, 1, 1)}, "colocated", 16, 2, "4 GPUs asked for (engine, 4 × policy), 2 present; set engines.gpus=1 and trainer.ranks=2"),
        ({"engine": Role(2, 8, 1), "policy": Role(2, 1, 1)}, "colocated", 4, 2, "16 CPUs asked for (2 × engine, 2 × policy), 4 present; set engines.threads=1"),
        ({"judge my taste": Role(1, 2, 0)}, "colocated", 1, 0, "2 CPUs asked for (judge my taste), 1 present; set judges.my taste.threads=1"),
        ({"policy": Role(1, 2, 0)}, "colocated", 1, 0, "2 CPUs asked for (policy), 1 present; set trainer.threads=1"),
        ({"engine": Role(1, 1, 1), "policy": Role(1, 1, 1)}, "colocated", 16, 0, "1 GPUs asked for (engine, policy), 0 present; use machines with more GPUs"),
    ],
)  # fmt: skip
def test_a_shortage_names_a_change_that_helps(
    roles: dict[str, Role], placement: Placement, cpus: int, gpus: int, says: str
) -> None:
    assert describe_shortage(roles, placement, cpus, gpus) == f"cluster: {says}"


SIZES = {"engine": Role(1, 1, 1), "policy": Role(1, 1, 1), "critic": Role(1, 1, 1)}


@pytest.mark.parametrize(
    ("roles", "placement", "devices", "counts"),
    [
        (SIZES, "colocated", Devices(1, 1, 16), (1, 1)),
        (SIZES, "colocated", Devices(1, 8, 64), (8, 8)),
        (SIZES, "colocated", Devices(8, 8, 64), (64, 64)),
        (SIZES, "colocated", Devices(1, 8, 4), (4, 4)),  # CPUs are short
        (SIZES, "split", Devices(1, 8, 64), (4, 2)),
        (SIZES, "split", Devices(1, 3, 64), (1, 1)),
        ({"engine": Role(1, 8, 8), "policy": Role(1, 1, 1)}, "colocated", Devices(8, 8, 64), (8, 64)),
        ({"engine": Role(1, 1, 1)}, "split", Devices(1, 8, 64), (8, 1)),
        ({"policy": Role(1, 1, 1)}, "split", Devices(1, 8, 64), (1, 8)),
        (SIZES | {"judge j": Role(1, 1, 2)}, "split", Devices(1, 8, 64), (4, 1)),
        ({name: Role(1, 1, 0) for name in SIZES}, "colocated", Devices(1, 0, 2), (2, 2)),
        ({name: Role(1, 1, 0) for name in SIZES}, "colocated", Devices(1, 0, 64), (2, 2)),
        ({name: Role(1, 1, 0) for name in SIZES}, "colocated", Devices(1, 0, 1), (1, 1)),
        ({name: Role(1, 2, 0) for name in SIZES}, "colocated", Devices(1, 0, 2), (1, 1)),
        ({}, "colocated", Devices(1, 0, 2), (1, 1)),
    ],
)
def test_auto_fills_the_devices(
    roles: dict[str, Role], placement: Placement, devices: Devices, counts: tuple[int, int]
) -> None:
    assert fill(roles, placement, devices) == counts
    sized = {name: replace(role, count=counts[name != "engine"]) for name, role in roles.items() if "judge" not in name}
    sized |= {name: role for name, role in roles.items() if "judge" in name}
    assert not sized or describe_shortage(sized, placement, devices.cpus, devices.gpus) is None


def test_counts_are_numbers_for_whoever_asks(tmp_path: Path) -> None:
    """Named `auto` on any machine; left out on GPUs alone; the saved recipe keeps what was written."""
    named = load("quickstart", expect_overrides("8x80"))
    assert (named.header.engines.count, named.header.trainer.ranks) == (8, 8)
    assert named.source["engines"] == {"count": "auto"}
    assert named.on(Devices(1, 1, 8)).header.engines.count == 1
    left_out = load("gsm8k", expect_overrides("64x80"))
    assert (left_out.header.engines.count, left_out.header.trainer.ranks) == (64, 64)
    on_cpu = left_out.on(Devices(1, 0, 8))
    assert (on_cpu.header.engines.count, on_cpu.header.trainer.ranks) == (1, 1)
    fixed = load("quickstart", ["engines.count=3", "trainer.ranks=2", *expect_overrides("8x80")])
    assert (fixed.header.engines.count, fixed.on(Devices(1, 1, 1)).header.trainer.ranks) == (3, 2)


@pytest.mark.parametrize(
    ("written", "on_gpu", "on_cpu"),
    [
        ("{path: some/model}", "bfloat16", "float32"),
        ("{path: some/model, dtype: auto}", "bfloat16", "float32"),
        ("{path: some/model, dtype: float32}", "float32", "float32"),
        ("{path: some/model, dtype: bfloat16}", "bfloat16", "bfloat16"),
        ("{compose: {decoder: some/model, encoder: some/ear}}", "bfloat16", "float32"),
        ("{build: {hidden_size: 64, heads: 2, layers: 1}}", "float32", "float32"),
    ],
)
def test_a_dtype_that_is_left_open_is_bfloat16_on_gpus(tmp_path: Path, written: str, on_gpu: str, on_cpu: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"model: {written}\ndata: {{words: {{source: reasoning_gym, args: {{dataset: spell_backward, size: 60}}}}}}\n"
        "reward: {parts: [{verifier: text}]}\nstages: [sft: {data: words}]\n"
    )
    recipe = load(file)
    assert recipe.on(Devices(1, 1, 8)).header.model.dtype == on_gpu
    assert recipe.on(Devices(1, 0, 8)).header.model.dtype == on_cpu


def test_a_dtype_that_is_left_open_contradicts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "model: {path: some/model, lora: {rank: 4, engines: merged}}\n"
        "data: {words: {source: reasoning_gym, args: {dataset: spell_backward, size: 60}}}\n"
        "reward: {parts: [{verifier: text}]}\nstages: [sft: {data: words}]\n"
    )
    recipe = load(file)
    with pytest.raises(ConfigError, match=r"model\.lora\.engines: merged in bfloat16"):
        recipe.on(Devices(1, 1, 8))


@pytest.mark.parametrize(
    "text",
    [
        "80",
        "8",
        "x80",
        "0x80",
        "8x0",
        "0x8x80",
        "1x2x3x4",
        "9x80",
        "12x80",
        "15x80",
        "17x80",
        "20x80",
        "8x-80",
        "8 cards",
    ],
)
def test_gpus_to_plan_for_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--on .*: expected GPUs x GB of each, such as 1x80"):
        expect_overrides(text)


def test_a_plan_for_gpus_goes_by_nodes_of_eight() -> None:
    values = [[line.partition("=")[2] for line in expect_overrides(text)] for text in ("1x80", "8X141", "64×79.6")]
    assert values == [["1", "1", "80"], ["1", "8", "141"], ["8", "8", "79.6"]]
    assert [line.partition("=")[2] for line in expect_overrides("3x4x80")] == ["3", "4", "80"]
    assert [line.partition("=")[2] for line in expect_overrides("1x12x80")] == ["1", "12", "80"]
