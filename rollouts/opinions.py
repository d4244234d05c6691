"""A vLLM engine that answers a judge's questions: conversations and JSON schemas in, texts of that form out. A Ray actor
beside the policy's engines; its weights never change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rl.config import ConfigError
from rollouts.worker import parallel

Question = tuple[Sequence[Mapping[str, str]], Mapping[str, Any]]
"""(messages, JSON schema of the answer)."""


@dataclass
class JudgeConfig:
    """A model that judges, served by the run under its name."""

    model: str
    """A folder with weights, tokenizer and chat template."""
    dtype: str = "bfloat16"
    max_sequence_tokens: int = 8192
    """Question and answer together."""
    max_answer_tokens: int = 1024
    threads: int = 1
    """CPU threads."""
    gpus: int = 1
    """GPUs (tensor parallel), where there are any."""
    kv_cache_mb: int = 512
    """On CPU."""
    vllm: dict[str, Any] = field(default_factory=dict[str, Any])
    """Handed to vLLM as it is; beside other actors on a GPU give `gpu_memory_utilization`."""

    def validate(self, place: str) -> None:
        for name in ("max_answer_tokens", "threads", "gpus", "kv_cache_mb"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{place}.{name}: must be at least 1; got {getattr(self, name)}")
        if self.max_sequence_tokens <= self.max_answer_tokens:
            raise ConfigError(f"{place}.max_sequence_tokens: leaves no room for a question beside max_answer_tokens")
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f"{place}.dtype: '{self.dtype}' is neither float32 nor bfloat16")


class JudgeWorker:
    """Ray actor."""

    def __init__(self, config: JudgeConfig) -> None:
        import torch
        from vllm import LLM

        options: dict[str, Any] = {"dtype": config.dtype, "max_model_len": config.max_sequence_tokens, "seed": 0}
        # White space between tokens is free in JSON: a model in doubt writes nothing else until it is cut off.
        options["structured_outputs_config"] = {"backend": "xgrammar", "disable_any_whitespace": True}
        if torch.cuda.is_available():
            options |= parallel(config.gpus)
        else:
            torch.set_num_threads(config.threads)
            options |= {"enforce_eager": True, "distributed_executor_backend": "uni"}
            options["kv_cache_memory_bytes"] = config.kv_cache_mb << 20
        self.config, self.engine = config, LLM(config.model, **{**options, **config.vllm})

    def ready(self) -> bool:
        return True

    def answer(self, questions: Sequence[Question]) -> list[str]:
        """A text for each, greedy. One that was cut off is no JSON, as its reader will say. Raises what vLLM raises,
        for instance where a conversation is longer than the model takes."""
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        how = [
            SamplingParams(
                temperature=0.0,
                max_tokens=self.config.max_answer_tokens,
                structured_outputs=StructuredOutputsParams(json=dict(schema)),
            )
            for _, schema in questions
        ]
        conversations: Any = [[dict(message) for message in messages] for messages, _ in questions]
        outputs = self.engine.chat(conversations, how, use_tqdm=False)
        return [output.outputs[0].text for output in outputs]


def asking(actor: Callable[[], Any]) -> Callable[[Sequence[Question]], list[str]]:
    """The function that the reward's judge is handed. Raises ValueError in one line when the actor has died."""

    def ask(questions: Sequence[Question]) -> list[str]:
        import ray

        try:
            return ray.get(actor().answer.remote(list(questions)))
        except ray.exceptions.RayActorError as error:
            raise ValueError(f"its engine died: {last_line(error)}") from error

    return ask


def last_line(error: Exception) -> str:
    """Of what Ray says of an actor that died: the cause."""
    return str(error).strip().splitlines()[-1].strip()
