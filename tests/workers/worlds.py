"""Trainers of one and of two ranks that serve every test here, with what a test wants to see of them.

Policy and critic share the processes of a world: importing DeepSpeed is most of what a trainer's start costs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import ray

from models.lora import LoraConfig
from models.settings import ModelConfig
from rl.types import Batch
from rl.workers.batch_share import BatchShare
from rl.workers.optimizer import OptimizerConfig
from rl.workers.trainer import ENVIRONMENT
from rl.workers.trainer_config import TrainerConfig

BETA = 0.9

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes do not find this file


def ragged_batch(lengths: list[int]) -> Batch:
    """Return random sequences of these lengths with what a policy and a critic learn from; the first three tokens of each are
    its prompt."""
    import torch

    draw = torch.Generator().manual_seed(0)
    written = torch.cat([torch.arange(n) >= 3 for n in lengths])
    actions, count = int(written.sum()), len(lengths)
    tokens = torch.randint(0, 256, (sum(lengths),), generator=draw)
    logprobs = torch.zeros(actions)
    batch = Batch(tokens, torch.tensor(lengths), written, logprobs, torch.zeros(count), torch.arange(count))
    return batch.add(values=torch.zeros(actions), returns=torch.randn(actions, generator=draw))


class Rank:
    """Ray actor: a policy's and a critic's rank in one process."""

    received = 0

    def __init__(self, rank: int, world: int) -> None:
        from rl.workers.critic import CriticWorker
        from rl.workers.policy import PolicyWorker

        self.workers: dict[str, Any] = {
            "policy": PolicyWorker(rank, world, threads=1),
            "critic": CriticWorker(rank, world, threads=1),
        }

    def call(self, role: str, verb: str, *arguments: Any) -> Any:
        batches = [a.batch if isinstance(a, BatchShare) else a for a in arguments]
        self.received = sum(len(b.tokens_T) for b in batches if isinstance(b, Batch)) or self.received
        return getattr(self.workers[role], verb)(*arguments)

    def tokens_received(self) -> int:
        """Tokens of the last batch that came."""
        return self.received

    def listening(self) -> list[str]:
        """Addresses at which this process listens."""
        import psutil

        return [c.laddr.ip for c in psutil.Process().net_connections("inet") if c.status == psutil.CONN_LISTEN]

    def momentum(self, role: str) -> dict[str, Any]:
        """{parameter: AdamW's first moment}, whole whatever the ZeRO stage. Collective."""
        import torch
        from deepspeed.utils import safe_get_full_optimizer_state

        engine = self.workers[role].deepspeed
        found: dict[str, Any] = {}
        for name, parameter in engine.module.named_parameters():
            if not parameter.requires_grad:
                continue
            plain = getattr(engine.optimizer, "state", {}).get(parameter)
            moment = plain["exp_avg"] if plain else safe_get_full_optimizer_state(parameter, "exp_avg")
            found[name] = torch.clone(moment.float())
        return found

    def parameters(self, role: str) -> dict[str, Any]:
        """{parameter: its values}, whole. Collective."""
        return {name: tensor.clone() for name, tensor in self.workers[role]._named_parameters()}

    def divided(self, role: str) -> tuple[bool, int]:
        """Whether every parameter is divided over the ranks, and what of them this rank holds, in bytes."""
        parameters = [*self.workers[role].deepspeed.module.parameters()]
        return all(hasattr(p, "ds_id") for p in parameters), sum(p.ds_tensor.nbytes for p in parameters)

    def leave(self, role: str) -> int:
        """From now on the trainer's states leave its device between updates; the bytes that have left."""
        from rl.workers.offload import Offload

        worker = self.workers[role]
        worker.offload = Offload(worker.deepspeed, worker.device)
        worker.offload.leave()
        assert all(storage.nbytes() == 0 for storage, _, _ in worker.offload.away)
        return sum(size for _, size, _ in worker.offload.away)

    def watch(self, role: str) -> None:
        """Notes what the engine's tensors take whenever its gradients are there, before each optimiser step. Those of
        earlier engines are held on to, so that no new one lies where they were."""
        engine, self.noted = self.workers[role].deepspeed, list[int]()
        step = engine.step

        def noting(*arguments: Any, **named: Any) -> Any:
            new = _storages(engine.module.parameters()).items() - self.old.items()
            self.noted.append(sum(size for _, size in new))
            return step(*arguments, **named)

        engine.step = noting

    def clear(self) -> None:
        """Forgets every engine; what tensors there are now is old."""
        for worker in self.workers.values():
            worker.deepspeed = None
        self.kept = _tensors()
        self.old = _storages([])

    def last_noted(self) -> int:
        self.kept.clear()
        return self.noted[-1]


def _tensors() -> list[Any]:
    """All that Python sees."""
    import gc

    import torch

    gc.collect()
    return [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]


def _storages(parameters: Any) -> dict[int, int]:
    """{address: bytes} of the storages of all tensors, and of these parameters' gradients."""
    seen = [*_tensors(), *(parameter.grad for parameter in parameters if parameter.grad is not None)]
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in seen}


class Seat:
    """What `TrainerGroup` takes for an actor: one role on a `Rank`."""

    def __init__(self, actor: Any, role: str) -> None:
        self.actor, self.role = actor, role

    def __getattr__(self, verb: str) -> Any:
        return Remote(self.actor, self.role, verb)


class Remote:
    def __init__(self, actor: Any, role: str, verb: str) -> None:
        self.actor, self.role, self.verb = actor, role, verb

    def remote(self, *arguments: Any) -> Any:
        return self.actor.call.remote(self.role, self.verb, *arguments)


class World:
    """Policy and critic groups over the same ranks."""

    def __init__(self, ranks: int) -> None:
        from rl.workers.critic_group import CriticGroup
        from rl.workers.group import PolicyGroup

        variables = {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}
        kind = ray.remote(Rank).options(num_cpus=0, runtime_env={"env_vars": variables})
        self.ranks = ranks
        self.actors = [kind.remote(rank, ranks) for rank in range(ranks)]
        config = TrainerConfig(ranks=ranks)
        self.policy = PolicyGroup([Seat(actor, "policy") for actor in self.actors], config)
        self.critic = CriticGroup([Seat(actor, "critic") for actor in self.actors], config)

    def load(
        self,
        role: str,
        path: Path,
        stage: int = 0,
        clipping: float = 0.0,
        dtype: str = "float32",
        lora: LoraConfig | None = None,
        base: Path | None = None,
        sequence_parallel: int = 1,
        **zero: Any,
    ) -> Any:
        """The group of that role, fresh from `path`, or from the adapter there and the model `base`."""
        group = getattr(self, role)
        extra = {"zero_optimization": zero} if zero else {}
        group.config = TrainerConfig(
            ranks=self.ranks,
            zero_stage=stage,  # type: ignore[arg-type]
            sequence_parallel=sequence_parallel,
            deepspeed=extra,
        )
        model = ModelConfig(path=str(path), dtype=dtype, lora=lora)  # type: ignore[arg-type]
        group.load(path, model, OptimizerConfig(betas=(BETA, 0.95), gradient_clipping=clipping), base=base)
        return group

    def momentum(self, role: str) -> dict[str, Any]:
        return self._first("momentum", role)

    def parameters(self, role: str) -> dict[str, Any]:
        return self._first("parameters", role)

    def everyone(self, verb: str, *arguments: Any) -> list[Any]:
        return ray.get([getattr(actor, verb).remote(*arguments) for actor in self.actors])

    def _first(self, verb: str, role: str) -> Any:
        return ray.get([getattr(actor, verb).remote(role) for actor in self.actors])[0]
