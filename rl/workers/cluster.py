"""The cluster of a run: Ray and the actors on it. They live for the recipe, not for the stage, since starting them is the
largest fixed cost (Ray 10–17 s, importing vLLM 15–20 s)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar, cast

import ray
from ray.exceptions import RayActorError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from models.folder import count_parameters, declared_ends
from models.hearing import clip_counter
from models.load import load_tokenizer
from models.settings import ModelConfig
from models.shape import folder_shape
from rl.data.chat import Chat
from rl.data.chat_export import exported_template
from rl.workers import trainer
from rl.workers.audio_features import AudioFeatures
from rl.workers.critic import CriticWorker
from rl.workers.critic_group import CriticGroup
from rl.workers.deaths import Seat, count_oom_kills, find_loss
from rl.workers.group import PolicyGroup, TrainerGroup
from rl.workers.liveness import Watchdog
from rl.workers.loss import Loss
from rl.workers.placement import TRAINERS, ClusterConfig, bundles, describe_shortage, roles
from rl.workers.policy import PolicyWorker
from rl.workers.probe import draw_probe
from rl.workers.processes import Processes
from rl.workers.ray_deaths import RayDeaths
from rl.workers.ray_start import kill_ray, start_ray, stop_ray
from rl.workers.reservation import devices, gpu_environment, reserve, vacate
from rl.workers.start_model import StartModel
from rl.workers.storage import RunSite, Storage, find_storage
from rl.workers.trainer_config import TrainerConfig
from rl.workers.turns import Turns
from rl.workers.weight_stream import Route, WeightStream
from rollouts.engine_options import samples_in_flight
from rollouts.judge_engine import JudgeConfig, JudgeWorker, Question, judge_client
from rollouts.remote import Actor, engine_actor, last_line
from rollouts.sampler import Sampler
from rollouts.serving import EngineConfig
from rollouts.transport import Gpu, choose_transport
from rollouts.worker import EngineWorker

Trainers = TypeVar("Trainers", bound=TrainerGroup)


class Cluster:
    """Context manager for the actors of a run. On entry the actors of all roles in `names` are started at once; each is
    waited for when it is first used."""

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
        report_loss: Callable[[str], None] = lambda _: None,
        seed: int = 0,
        site: RunSite | None = None,
    ) -> None:
        """Read the model's chat format; nothing starts before `__enter__`. `seed` draws the probe of the weights'
        arrival. `report_loss` is called, in a thread of the cluster's own, with a process that has stood still for too
        long, and with one of Ray's own that has died."""
        self.site, self.storage, self.judges = site or RunSite(), Storage(), judges
        self.names, self.config, self.engines, self.training = names, cluster, engines, training
        self.model, self.model_path, self.max_sequence_tokens = model, model_path, max_sequence_tokens
        self.chat = Chat(load_tokenizer(model_path), model.thinks, clip_counter(model_path), declared_ends(model_path))
        exported_template(self.chat)  # a template that cannot be exported is refused before anything starts
        self.actors: dict[Seat, Actor] = {}
        self.report_loss, self.seed = report_loss, seed
        self.oom_kills, self.turns = count_oom_kills(), Turns()
        self.owns_ray = self.is_abandoned = False
        self.processes, self.watches = Processes(training.ranks), ExitStack()  # `watches`: threads that look for losses
        self.group: PlacementGroup | None = None

    def __enter__(self) -> Cluster:
        if not self.names:  # nobody to start: what the stages read is there already
            return self
        self.owns_ray = not ray.is_initialized()  # a notebook's own Ray is used, and goes on after the run
        find_lives, find_nodes = self.processes.find_lives, self.processes.find_nodes
        self.watches.callback(Watchdog(self.config.heartbeat_s, find_lives, self.report_loss, find_nodes).close)
        try:
            self._start()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _start(self) -> None:
        if self.owns_ray:
            start_ray(self.config, count_parameters(self.model_path) * (2 if self.model.dtype == "bfloat16" else 4))
            self.watches.callback(RayDeaths(self.report_loss).close)
        resources = cast("dict[str, float]", ray.cluster_resources())
        cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
        self.gpu = gpus > 0
        role_sizes = roles(self.names, self.engines, self.training, self.gpu, self.judges)
        if problem := describe_shortage(role_sizes, self.config.placement, cpus, gpus):
            raise ValueError(problem)
        reservation = bundles(role_sizes, self.config.placement)
        self.group, self.nodes = reserve(reservation, self.config, self.training.sequence_parallel, self.site)
        self.storage = find_storage(self.nodes, self.site)
        self.storage.deliver(self.model_path)
        self.seats = {seat: (i, bundle) for i, bundle in enumerate(reservation) for seat in bundle.actors}
        self.gpus_by_seat = dict[Seat, tuple[str, ...]]()
        for bundle, ids in zip(reservation, devices(self.group, reservation, look=True), strict=True):
            self.gpus_by_seat |= bundle.gpus_by_actor(ids)
        self.shares_gpus = self.gpu and self.config.placement == "colocated"
        for role in dict.fromkeys(name for name, _ in self.seats):
            for seat in [seat for seat in self.seats if seat[0] == role]:
                self.actors[seat] = self._spawn(*seat)
            # vLLM measures its device's free memory as it starts: no two at once, nor one while a trainer loads.
            if self.shares_gpus and role not in TRAINERS:
                self._await(role)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.watches.close()
        if "sampler" in self.__dict__:  # its thread must not meet engines that are gone, nor the Ray after this one
            self.sampler.close()
        if not self.is_abandoned:
            for actor in self.actors.values():
                ray.kill(cast("Any", actor))
            if self.group:
                ray.util.remove_placement_group(self.group)
            self.storage.close()  # last: a rank that still writes would leave files behind
        if self.owns_ray:
            stop_ray(error)

    def abandon(self) -> None:
        """Kill the Ray that the cluster has started, which answers nothing while a process of it is dead or frozen. What the
        caller has got from its object store must outlive this call: given back to a dead store it would end this process."""
        if self.owns_ray:
            self.is_abandoned, self.owns_ray = True, False
            self.watches.close()
            if "sampler" in self.__dict__:
                self.sampler.close()
            kill_ray()
            stop_ray()

    @cached_property
    def sampler(self) -> Sampler:
        """The policy's engines, started."""
        self._await("engine")
        engines = [self.actors["engine", i] for i in range(self.engines.count)]
        return Sampler(engines, self._respawn, self.chat, samples_in_flight(self.gpu, self.engines.vllm))

    @cached_property
    def audio_features(self) -> AudioFeatures:
        """Features of the clips, from the policy's encoder; where no policy trains, from the reward model's ranks."""
        role = "policy" if "policy" in self.names else "reward_model"
        return AudioFeatures([self.actors[role, i] for i in range(self.training.ranks)], self.storage)

    @cached_property
    def policy(self) -> PolicyGroup:
        """The policy's ranks, connected; `load` gives them a model."""
        shape = folder_shape(self.model_path, "model.path")
        # One token less than the longest sequence: an engine that scores a prompt also writes a token.
        probe = None
        if self.engines.probe:
            probe = draw_probe(self.chat, shape and shape.vocabulary, self.max_sequence_tokens - 1, self.seed)
        policy = PolicyGroup(*self._ranks("policy"), probe, self.shares_gpus)
        policy.stream = self._weight_stream()
        return self._in_turns("policy", self._beside_engines(policy))

    def _weight_stream(self) -> WeightStream | None:
        """Return how the engines get the policy's weights, or None for by the object store."""
        if "engine" not in self.names:
            return None
        gpus = {role: self._gpus(role) for role in ("policy", "engine")}
        has_adapter = self.model.lora is not None
        transport = choose_transport(self.engines.transport, gpus["policy"], gpus["engine"], has_adapter)
        if transport == "object_store":
            return None
        workers = self.engines.gpus if self.gpu else 1  # tensor-parallel; on a CPU an engine is one process
        actors = [self.actors["policy", i] for i in range(self.training.ranks)]
        return WeightStream(actors, Route(transport, workers, gpus["policy"], gpus["engine"]))

    def _gpus(self, role: str) -> list[list[Gpu]]:
        """Return the GPUs of each of the role's actors; nothing on CPU. A bundle has GPUs of its own, so that its number and
        their names on its node tell them apart."""
        if not self.gpu:
            return []
        seats = [seat for seat in self.seats if seat[0] == role]
        return [[(self.seats[seat][0], name) for name in self.gpus_by_seat[seat]] for seat in seats]

    def _beside_engines(self, group: Trainers) -> Trainers:
        """Return the group, before whose work engines on the same GPUs give their memory away."""
        if self.shares_gpus and "engine" in self.names:
            group.make_room = self._rest_engines
        return group

    def _rest_engines(self) -> None:
        if "sampler" in self.__dict__:  # else no engine was used yet, and all rest from their start on
            self.sampler.rest()

    @cached_property
    def critic(self) -> CriticGroup:
        """The critic's ranks, connected."""
        return self._in_turns("critic", self._beside_engines(CriticGroup(*self._ranks("critic"))))

    @cached_property
    def reference(self) -> PolicyGroup | StartModel:
        """The frozen reference's ranks, connected; or the policy's own, which compute without their adapter."""
        if self.model.lora:
            return StartModel(self.policy)
        return self._in_turns("reference", self._beside_engines(PolicyGroup(*self._ranks("reference"))))

    @cached_property
    def teacher(self) -> PolicyGroup:
        """The teacher's ranks, connected."""
        return self._in_turns("teacher", self._beside_engines(PolicyGroup(*self._ranks("teacher"))))

    @cached_property
    def reward_model(self) -> CriticGroup:
        """The ranks that serve the run's reward models, connected."""
        return self._in_turns("reward_model", CriticGroup(*self._ranks("reward_model")))

    def judge(self, name: str) -> Callable[[Sequence[Question]], list[str]]:
        """Return the function through which a reward asks the judge of that name."""
        return judge_client(lambda: self.actors[f"judge {name}", 0])

    def await_judges(self, names: Iterable[str]) -> None:
        """Wait until the judges' models are loaded. Raises ValueError naming one that does not start."""
        for name in names:
            self._await(f"judge {name}")

    def find_loss(self, error: BaseException) -> Loss | None:
        """Return which actor's death is behind an error; None where none has died."""
        return find_loss(error, self.actors, self.training.ranks, self.oom_kills)

    def _await(self, role: str) -> None:
        """Wait until the vLLM of each of the role's actors has started."""
        try:
            ray.get([actor.ready.remote() for (name, _), actor in self.actors.items() if name == role])
        except RayActorError as error:
            place = "engines" if role == "engine" else f"judges.{role.removeprefix('judge ')}"
            raise ValueError(f"{place}: vLLM did not start: {last_line(error)}; --debug shows all of it") from error

    def _ranks(self, role: str) -> tuple[list[Actor], TrainerConfig, AudioFeatures]:
        actors = [self.actors[role, i] for i in range(self.training.ranks)]
        if role == "teacher" or (role == "reference" and self.model.train_encoder):
            # Another model has an ear of its own; and the reference hears as the policy did when its ear began to learn.
            return actors, self.training, AudioFeatures(actors)
        return actors, self.training, self.audio_features

    def _in_turns(self, role: str, group: Trainers) -> Trainers:
        """Return the role's group, which waits before its work for other roles on its GPUs."""
        seats = [seat for seat in self.seats if seat[0] == role]
        # A bundle has GPUs of its own: with its number their names are unambiguous on several nodes.
        names = [(self.seats[seat][0], name) for seat in seats for name in self.gpus_by_seat.get(seat, ())]
        group.turns, group.gpus, group.storage = self.turns, frozenset(names), self.storage
        return group

    def _respawn(self, i: int) -> Actor:
        vacate(self.nodes[self.seats["engine", i][0]], self.actors["engine", i])
        self.actors["engine", i] = self._spawn("engine", i)
        return self.actors["engine", i]

    def _spawn(self, role: str, i: int) -> Actor:
        assert self.group is not None, "actors are spawned within the reservation"
        index, bundle = self.seats[role, i]
        options: dict[str, object] = {
            "num_cpus": bundle.cpus_per_actor,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=index),
        }
        if role == "engine":
            variables = self.engines.environment(self.gpu)
            model = str(self.model_path), self.model.dtype, self.max_sequence_tokens
            state = self.shares_gpus, self.model.adapter_rank, self.engines.kv == "keep"
            arguments: tuple[object, ...] = (*model, self.engines, *state)
            kind: type[object] = EngineWorker
        elif role.startswith("judge "):
            judge = self.judges[role.removeprefix("judge ")]
            variables, kind, arguments = judge.environment(self.gpu), JudgeWorker, (judge,)
        else:
            variables = {"OMP_NUM_THREADS": str(self.training.threads)}
            variables |= trainer.GPU_ENVIRONMENT if self.gpu else trainer.ENVIRONMENT
            arguments = (i, self.training.ranks, self.training.threads, self.shares_gpus)
            kind = CriticWorker if role in ("critic", "reward_model") else PolicyWorker
        if self.gpu:
            variables |= gpu_environment(self.gpus_by_seat[role, i])
        options["runtime_env"] = {"env_vars": variables}
        remote_class = engine_actor(kind) if role == "engine" else cast("Any", ray.remote(kind))
        actor: Actor = remote_class.options(**options).remote(*arguments)
        self.processes.add((role, i), actor)
        return actor
