"""Options of every vLLM engine of a run, whether it writes for the policy or answers for a judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rl.config import ConfigError

# Must be set before vLLM is imported. In-process: with multiprocessing vLLM takes three processes on CPU and 40 s to start.
GPU_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
ENVIRONMENT = {
    **GPU_ENVIRONMENT,
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # engines that bind to the same cores would share them
    "TORCHDYNAMO_DISABLE": "1",  # vLLM compiles its sampler even when eager: 14-38 s at the first token on CPU
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
    """Passed on to vLLM as it is. An engine of the policy that shares its GPU with trainers takes what they leave, unless
    `gpu_memory_utilization` is given; a judge that shares one needs it."""

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
