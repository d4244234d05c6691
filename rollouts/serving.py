"""Defines the options of a run's vLLM engines: those that write for the policy, and those that answer for a judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rl.config import ConfigError
from rollouts.transport import Setting

# Must be set before vLLM is imported. Without multiprocessing: with it vLLM takes three processes on CPU and 40 s to
# start.
GPU_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
ENVIRONMENT = {
    **GPU_ENVIRONMENT,
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # engines that bind to the same cores would share them
    "TORCHDYNAMO_DISABLE": "1",  # vLLM compiles its sampler even when eager: 14-38 s at the first token on CPU
    # glibc keeps what was freed in an arena of each thread, up to eight a core, and grows its threshold for large blocks: an
    # engine of 135 million parameters had a GB of such leftovers after 20 steps.
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    # As in trainers: large tensors, such as each step's logits, in pages of 2 MiB, which saves a fifth of the engine's time.
    "THP_MEM_ALLOC_ENABLE": "1",
}
"""Environment of an engine on CPU."""


@dataclass(kw_only=True)
class ServingConfig:
    """Options that engines of the policy and of judges share."""

    threads: int = 1
    """CPU threads of each engine."""
    gpus: int = 1
    """GPUs of each engine (tensor parallel), where there are any."""
    kv_cache_mb: int = 512
    """Size of the KV cache on CPU, in MB; on a GPU vLLM sizes its own."""
    vllm: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further options of vLLM, passed on unchanged. An engine of the policy that shares its GPU with trainers takes the
    memory that they leave, unless `gpu_memory_utilization` is given; a judge that shares a GPU needs that option."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for a value out of range."""
        for name in ("threads", "gpus", "kv_cache_mb"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{place}.{name}: must be at least 1; got {getattr(self, name)}")

    def environment(self, gpu: bool) -> dict[str, str]:
        """Return the environment variables of the actor that the engine lives in; `gpu`: whether it has a GPU."""
        return {**(GPU_ENVIRONMENT if gpu else ENVIRONMENT), "OMP_NUM_THREADS": str(self.threads)}

    def on_device(self) -> dict[str, Any]:
        """Return the options of vLLM that depend on this process's device. On CPU also set the process's threads."""
        import torch

        if torch.cuda.is_available():
            if self.gpus == 1:
                return {}
            # Left to itself in a placement group, a tensor-parallel vLLM asks Ray for workers and their GPUs, which the
            # group has no more to give. Processes of its own ("mp") take the GPUs that this one sees.
            return {"tensor_parallel_size": self.gpus, "distributed_executor_backend": "mp"}
        torch.set_num_threads(self.threads)
        return {
            "enforce_eager": True,
            "distributed_executor_backend": "uni",  # in this process
            "kv_cache_memory_bytes": self.kv_cache_mb << 20,
            # The smallest that vLLM's CPU attention takes, not its default of 128: the samples of a prompt share only whole
            # blocks of it, and a prompt of 43 tokens would be computed anew for each (3 × the time of its prefill).
            "block_size": 32,
        }


@dataclass(kw_only=True)
class EngineConfig(ServingConfig):
    """Settings of the engines that write for the policy."""

    count: int = 1
    """Number of engines. `auto`: as many as the GPUs hold, or two on a CPU that has the cores. Without the key 1 on a CPU and
    `auto` on GPUs."""
    probe: bool = True
    """True if every engine scores a fixed sequence after each update of the weights, to compare with the trainer. Set
    false for options of vLLM that exclude prompt logprobs: checksums still prove that the weights arrive, but nothing
    proves that they are used."""

    transport: Setting = "auto"
    """Way in which new weights come from the trainer: `ipc` within the GPUs that both share, `nccl` from GPU to GPU,
    `object_store` through the host; on CPU `shared_memory` and `gloo` in place of the first two. `auto`: ipc or nccl
    where every engine's GPUs are the policy's or none is, else object_store."""

    kv: str = "recompute"
    """Treatment of keys and values when weights change while samples are written (`rlvr.max_lag`): `recompute` them by the new
    weights, which is exact, or `keep` those of the old ones, which saves a pass over what was written."""

    batch_invariant: bool = False
    """Write the same tokens from the same seeds on a GPU, whatever else an engine runs, at some cost in speed. vLLM's
    batch-invariant kernels, for GPUs of compute capability 9.0 or more (H100); on a CPU it is so anyway."""

    def environment(self, gpu: bool) -> dict[str, str]:
        variables = super().environment(gpu)
        return variables | {"VLLM_BATCH_INVARIANT": "1"} if gpu and self.batch_invariant else variables

    def validate(self, place: str) -> None:
        """Raise ConfigError for a value out of range."""
        super().validate(place)
        if self.count < 1:
            raise ConfigError(f"{place}.count: must be at least 1; got {self.count}")
        if self.kv not in ("recompute", "keep"):
            raise ConfigError(f"{place}.kv: recompute or keep; got {self.kv!r}")
