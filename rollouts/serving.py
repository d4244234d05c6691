"""What every vLLM engine of a run is told, whether it writes for the policy or judges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rl.config import ConfigError

GPU_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
ENVIRONMENT = {
    **GPU_ENVIRONMENT,
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",  # vLLM compiles its sampler even when eager: 14-38 s at the first token on CPU
}
"""Must be set before vLLM is imported; this one on CPU."""


@dataclass(kw_only=True)
class ServingConfig:
    """`vllm:` is handed to vLLM as it is; an engine that stays beside others on a GPU needs `gpu_memory_utilization`."""

    threads: int = 1
    """CPU threads of each engine."""
    gpus: int = 1
    """GPUs of each engine (tensor parallel), where there are any."""
    kv_cache_mb: int = 512
    """On CPU."""
    vllm: dict[str, Any] = field(default_factory=dict[str, Any])

    def validate(self, place: str) -> None:
        for name in ("threads", "gpus", "kv_cache_mb"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{place}.{name}: must be at least 1; got {getattr(self, name)}")

    def environment(self, gpu: bool) -> dict[str, str]:
        """Of the actor that the engine lives in."""
        return {**(GPU_ENVIRONMENT if gpu else ENVIRONMENT), "OMP_NUM_THREADS": str(self.threads)}

    def on_device(self) -> dict[str, Any]:
        """Options of vLLM that depend on the device of this process, whose threads are set on CPU."""
        import torch

        if torch.cuda.is_available():
            # Left to itself in a placement group, a tensor-parallel vLLM asks Ray for workers and their GPUs, which the
            # group has no more to give; its own processes take those that this one sees.
            return {"tensor_parallel_size": self.gpus, "distributed_executor_backend": "mp"} if self.gpus > 1 else {}
        torch.set_num_threads(self.threads)
        return {
            "enforce_eager": True,
            "distributed_executor_backend": "uni",
            "kv_cache_memory_bytes": self.kv_cache_mb << 20,
        }
