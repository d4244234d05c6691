"""Serves an LLM judge by a vLLM engine: conversations and JSON schemas in, texts of that form out.

The engine is a Ray actor beside the policy's engines, and its weights never change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from rl.config import ConfigError
from rollouts.remote import Actor, last_line
from rollouts.rendezvous import private_rendezvous
from rollouts.serving import ServingConfig

Question = tuple[Sequence[Mapping[str, str]], Mapping[str, object]]
"""(messages, JSON schema of the answer)."""


@dataclass(kw_only=True)
class JudgeConfig(ServingConfig):
    """An LLM judge that the run serves under its name."""

    model: str
    """Folder with weights, tokenizer and chat template, or a model of the hub."""
    dtype: str = "bfloat16"
    """Type of the judge's weights."""
    max_sequence_tokens: int = 8192
    """Longest question and answer, together."""
    max_answer_tokens: int = 1024
    """Tokens of the longest answer of the judge."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for a value out of range."""
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
    """Ray actor of one judge's engine."""

    def __init__(self, config: JudgeConfig) -> None:
        from vllm import LLM

        options: dict[str, Any] = {
            "dtype": config.dtype,
            "max_model_len": config.max_sequence_tokens,
            "seed": 0,
            # JSON allows white space between tokens: a model in doubt would write nothing else until it is cut off.
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        }
        options |= {**config.on_device(), **config.vllm}
        self.config = config
        with private_rendezvous():
            self.engine = LLM(config.model, **{"trust_remote_code": cast(Any, False), **options})

    def ready(self) -> bool:
        """Return True once the model is loaded: Ray calls no method before the constructor has ended."""
        return True

    def answer(self, questions: Sequence[Question]) -> list[str]:
        """Return a text for each question, sampled greedily. One that was cut off is no valid JSON; whoever parses it
        reports that. Raises what vLLM raises, for instance for a conversation longer than the model takes."""
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        parameters = [
            SamplingParams(
                temperature=0.0,
                max_tokens=self.config.max_answer_tokens,
                structured_outputs=StructuredOutputsParams(json=dict(schema)),
            )
            for _, schema in questions
        ]
        conversations: Any = [[dict(message) for message in messages] for messages, _ in questions]
        outputs = self.engine.chat(conversations, parameters, use_tqdm=False)
        return [output.outputs[0].text for output in outputs]


def judge_client(actor: Callable[[], Actor]) -> Callable[[Sequence[Question]], list[str]]:
    """Return the function through which a reward asks the `JudgeWorker` that `actor()` returns. It raises ValueError,
    in one line, when the actor has died."""

    def ask(questions: Sequence[Question]) -> list[str]:
        import ray
        from ray.exceptions import RayActorError

        try:
            answers: list[str] = ray.get(actor().answer.remote(list(questions)))
            return answers
        except RayActorError as error:
            raise ValueError(f"its engine died: {last_line(error)}") from error

    return ask
