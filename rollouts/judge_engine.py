"""A vLLM engine that answers a judge's questions: conversations and JSON schemas in, texts of that form out. A Ray actor
beside the policy's engines; its weights never change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl.config import ConfigError
from rollouts.serving import ServingConfig

Question = tuple[Sequence[Mapping[str, str]], Mapping[str, Any]]
"""(messages, JSON schema of the answer)."""


@dataclass(kw_only=True)
class JudgeConfig(ServingConfig):
    """A model that judges, served by the run under its name."""

    model: str
    """A folder with weights, tokenizer and chat template."""
    dtype: str = "bfloat16"
    max_sequence_tokens: int = 8192
    """Question and answer together."""
    max_answer_tokens: int = 1024

    def validate(self, place: str) -> None:
        super().validate(place)
        if not self.model.strip():
            raise ConfigError(f"{place}.model: is empty; name a folder or a model of the hub")
        if self.max_answer_tokens < 1:
            raise ConfigError(f"{place}.max_answer_tokens: must be at least 1; got {self.max_answer_tokens}")
        if self.max_sequence_tokens <= self.max_answer_tokens:
            raise ConfigError(f"{place}.max_sequence_tokens: leaves no room for a question beside max_answer_tokens")
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f"{place}.dtype: '{self.dtype}' is neither float32 nor bfloat16")


class JudgeWorker:
    """Ray actor."""

    def __init__(self, config: JudgeConfig) -> None:
        from vllm import LLM

        options: dict[str, Any] = {"dtype": config.dtype, "max_model_len": config.max_sequence_tokens, "seed": 0}
        # White space between tokens is free in JSON: a model in doubt writes nothing else until it is cut off.
        options["structured_outputs_config"] = {"backend": "xgrammar", "disable_any_whitespace": True}
        self.config, self.engine = config, LLM(config.model, **{**options, **config.on_device(), **config.vllm})

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
