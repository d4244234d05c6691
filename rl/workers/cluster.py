"""Ray and the actors on it. They live for the recipe, not for the stage: starting them is the largest fixed cost."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import ray
from ray._private import ray_constants
from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from models.folder import parameters
from models.hearing import clip_counter
from models.load import ModelConfig, load_tokenizer
from rl.data.chat import Chat
from rl.workers import trainer
from rl.workers.audio_features import Sounds
from rl.workers.critic import CriticWorker
from rl.workers.group import CriticGroup, PolicyGroup
from rl.workers.placement import TRAINERS, Bundle, ClusterConfig, bundles, roles, shortage
from rl.workers.policy import PolicyWorker
from rl.workers.trainer import TrainerConfig
from rollouts.judge_engine import JudgeConfig, JudgeWorker, Question, asking, last_line
from rollouts.sampler import EngineConfig, Sampler
from rollouts.worker import EngineWorker

RESERVE_TIMEOUT_S = 120
RAY_STARTS = 3
STORE = 1 << 30
"""Of Ray's object store, beside weights."""
QUIET: Mapping[str, Any] = {"logging_level": "error", "log_to_driver": False}


class Cluster:
    """Context manager. Actors of all `names` are started at once on entry; each is waited for when first asked for."""

    def __init__(
        self,
        names: set[str],
        cluster: ClusterConfig,
        engines: EngineConfig,
        training: TrainerConfig,
        model: ModelConfig,
        model_path: Path,
        max_sequence_tokens: int,
        judges: Mapping[str, JudgeConfig] = MappingProxyType({}),
    ) -> None:
        self.judges = judges
        self.names, self.config, self.engines, self.training = names, cluster, engines, training
        self.model, self.model_path, self.max_sequence_tokens = model, model_path, max_sequence_tokens
        self.chat = Chat(load_tokenizer(model_path), model.think, clip_counter(model_path))
        self.actors: dict[tuple[str, int], Any] = {}
        self.owns_ray = False
        self.group: PlacementGroup | None = None

    def __enter__(self) -> Cluster:
        self.owns_ray = not ray.is_initialized()
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        if self.owns_ray:
            _start_ray(self.config, parameters(self.model_path) * (2 if self.model.dtype == "bfloat16" else 4))
        present = ray.cluster_resources()
        self.gpu = present.get("GPU", 0) > 0
        placed = bundles(roles(self.names, self.engines, self.training, self.gpu, self.judges), self.config.placement)
        if problem := shortage(placed, present.get("CPU", 0), present.get("GPU", 0)):
            raise ValueError(problem)
        self.group = _reserve(placed)
        self.seats = {seat: (i, bundle) for i, bundle in enumerate(placed) for seat in bundle.actors}
        self.visible = dict[tuple[str, int], tuple[str, ...]]()
        for bundle, ids in zip(placed, devices(self.group, placed), strict=True):
            self.visible |= bundle.visible(ids)
        self.takes_turns = self.gpu and self.config.placement == "colocated"
        for role in dict.fromkeys(name for name, _ in self.seats):
            for seat in [seat for seat in self.seats if seat[0] == role]:
                self.actors[seat] = self._spawn(*seat)
            # vLLM measures its device as it starts: no two at once, nor one while a trainer loads.
            if self.takes_turns and role not in TRAINERS:
                self._await(role)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self.actors.values():
            ray.kill(actor)
        if self.group:
            ray.util.remove_placement_group(self.group)
        if self.owns_ray:
            ray.shutdown()

    @cached_property
    def sampler(self) -> Sampler:
        """The policy's engines, started."""
        self._await("engine")
        engines = [self.actors["engine", i] for i in range(self.engines.count)]
        return Sampler(engines, self._respawn, self.chat)

    @cached_property
    def sounds(self) -> Sounds:
        """Features of the clips, from the policy's encoder; where nothing trains, from the reward model's ranks."""
        role = "policy" if "policy" in self.names else "reward_model"
        return Sounds([self.actors[role, i] for i in range(self.training.ranks)])

    @cached_property
    def policy(self) -> PolicyGroup:
        return PolicyGroup(*self._ranks("policy"))

    @cached_property
    def critic(self) -> CriticGroup:
        return CriticGroup(*self._ranks("critic"))

    @cached_property
    def reference(self) -> PolicyGroup:
        return PolicyGroup(*self._ranks("reference"))

    @cached_property
    def reward_model(self) -> CriticGroup:
        return CriticGroup(*self._ranks("reward_model"))

    def judge(self, name: str) -> Callable[[Sequence[Question]], list[str]]:
        """What the reward's judge is handed to ask the model of that name."""
        return asking(lambda: self.actors[f"judge {name}", 0])

    def await_judges(self, names: Iterable[str]) -> None:
        """Until their models are loaded. Raises ValueError naming one that does not start."""
        for name in names:
            self._await(f"judge {name}")

    def _await(self, role: str) -> None:
        """Until the vLLM of each of its actors has started."""
        try:
            ray.get([actor.ready.remote() for (name, _), actor in self.actors.items() if name == role])
        except ray.exceptions.RayActorError as error:
            place = "engines" if role == "engine" else f"judges.{role.removeprefix('judge ')}"
            raise ValueError(f"{place}: vLLM did not start: {last_line(error)}; --debug shows all of it") from error

    def _ranks(self, role: str) -> tuple[list[Any], TrainerConfig, Sounds]:
        actors = [self.actors[role, i] for i in range(self.training.ranks)]
        if role == "reference" and self.model.train_encoder:
            # The policy's encoder learns; the reference keeps the one it started with, and hears through that.
            return actors, self.training, Sounds(actors)
        return actors, self.training, self.sounds

    def _respawn(self, i: int) -> Any:
        self.actors["engine", i] = self._spawn("engine", i)
        return self.actors["engine", i]

    def _spawn(self, role: str, i: int) -> Any:
        index, bundle = self.seats[role, i]
        options: dict[str, Any] = {
            "num_cpus": bundle.share(),
            "scheduling_strategy": PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=index),
        }
        if role == "engine":
            variables = self.engines.environment(self.gpu)
            what = str(self.model_path), self.model.dtype, self.max_sequence_tokens
            arguments = (*what, self.engines, self.takes_turns)
            kind: Any = EngineWorker
        elif role.startswith("judge "):
            judge = self.judges[role.removeprefix("judge ")]
            variables = judge.environment(self.gpu)
            kind, arguments = JudgeWorker, (judge,)
        else:
            variables = {"OMP_NUM_THREADS": str(self.training.threads), **({} if self.gpu else trainer.ENVIRONMENT)}
            arguments = (i, self.training.ranks, self.training.threads)
            kind = CriticWorker if role in ("critic", "reward_model") else PolicyWorker
        if self.gpu:
            variables |= seeing(self.visible[role, i])
        return ray.remote(kind).options(**options, runtime_env={"env_vars": variables}).remote(*arguments)


def _start_ray(config: ClusterConfig, weights: int) -> None:
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address := config.address or os.environ.get("RAY_ADDRESS"):
        with _own_sigterm():
            ray.init(address=address, **QUIET)
    else:
        start_local_ray(os.cpu_count() or 1, weights)


def start_local_ray(cpus: int, weights: int = 0) -> None:
    """For a policy of so many bytes. Ray gives its own processes half a minute; a machine that is busy just now gets a
    second and a third chance."""
    store = store_bytes(weights, shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else 0)
    for chance in range(RAY_STARTS):
        try:
            with _own_sigterm():
                ray.init(num_cpus=cpus, include_dashboard=False, object_store_memory=store, **QUIET)
            return
        except Exception as error:  # of no class of its own
            if "timed out during startup" not in str(error) or chance == RAY_STARTS - 1:
                raise
            ray.shutdown()


@contextmanager
def _own_sigterm() -> Generator[None]:
    """Keep the program's answer to SIGTERM through a start of Ray, which puts two of its own in the place: one in Python
    that exits, and one in C++ that prints a trace and aborts."""
    if threading.current_thread() is not threading.main_thread():  # there Ray leaves it, and nobody may set it
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    ray_constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = (
        True  # in this process alone: actors read it from the environment
    )
    try:
        yield
    except SystemExit as stopped:
        if stopped.code == signal.SIGTERM and callable(before):  # Ray's answer, to a signal that came meanwhile
            before(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def store_bytes(weights: int, shared: int) -> int:
    """Of the local object store: what batches and features take, and two versions of the policy's weights (Ray frees the
    earlier one up to a second after it was let go), in at most four fifths of the `shared` memory that is free. What does
    not fit goes to disk and back with every step."""
    return max(STORE, min(STORE + 2 * weights, shared * 4 // 5))


def _reserve(placed: list[Bundle]) -> PlacementGroup:
    group = placement_group([{"CPU": b.cpus} | ({"GPU": b.gpus} if b.gpus else {}) for b in placed], strategy="PACK")
    ready, _ = ray.wait([group.ready()], timeout=RESERVE_TIMEOUT_S)
    if not ready:
        ray.util.remove_placement_group(group)
        free = ray.available_resources()
        raise ValueError(
            f"cluster: {len(placed)} bundles could not be reserved in {RESERVE_TIMEOUT_S} s; "
            f"free now: {free.get('CPU', 0):g} CPUs, {free.get('GPU', 0):g} GPUs; wait for other jobs or ask for less"
        )
    return group


def devices(group: PlacementGroup, placed: Sequence[Bundle]) -> list[list[str]]:
    """The GPUs that Ray has reserved for each bundle, named as in CUDA_VISIBLE_DEVICES on its node."""
    asked = [
        ray.remote(_assigned)
        .options(
            num_cpus=0,
            num_gpus=bundle.gpus,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i),
        )
        .remote()
        for i, bundle in enumerate(placed)
        if bundle.gpus
    ]
    answers = iter(ray.get(asked))
    return [next(answers) if bundle.gpus else [] for bundle in placed]


def _assigned() -> list[str]:
    return sorted(ray.get_runtime_context().get_accelerator_ids()["GPU"], key=lambda name: (len(name), name))


def seeing(gpus: Sequence[str]) -> dict[str, str]:
    """Environment of an actor that claims no GPU of Ray and uses these."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus), "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}
