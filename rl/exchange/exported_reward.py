"""The reward of a recipe inside another trainer: verl's `compute_score`, TRL's reward functions.

Verifiers judge in processes of their own, with the recipe's deadlines. What cannot be judged is never a silent 0: verl gets 0
beside `error: 1`, TRL gets None, and both stop where more than `max_error_share` of the recent samples cannot.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast
from weakref import WeakMethod

from omegaconf import OmegaConf

from rewards.combine import RewardConfig, correct
from rewards.contract import Case
from rewards.service import RewardService
from rl.config import build, resolve
from rl.exchange.prompt_json import from_json
from rl.think import THINK_CLOSE, THINK_OPEN
from rl.types import Prompt, Rollout, Verdict

COLUMN = "groundtone"
"""Column, or key of verl's `extra_info`, that holds the prompt."""


class ExportedReward:
    """A recipe's reward, whose processes start with its first sample; any thread may call it.

    Example: `ExportedReward({"parts": [{"verifier": "math"}]}, Path(__file__).parent).compute_score(...)`.
    """

    def __init__(self, config: Mapping[str, object], folder: Path) -> None:
        """Read the reward in `folder`, which holds the user's verifiers and the clips too. Raises ConfigError."""
        values = resolve(OmegaConf.create(dict(config)), "reward")  # it may name variables of the environment
        self.config, self.folder = build(RewardConfig, values, "reward"), folder.absolute()
        self._lock = threading.Lock()
        # A process that is forked while another thread holds the lock would wait for a thread that it does not have.
        renewal = WeakMethod(self._renew_lock)  # weak, since nothing can be unregistered
        os.register_at_fork(after_in_child=lambda: (renew := renewal()) and renew())
        self._service: RewardService | None = None
        self._pid = 0

    def compute_score(self, solution_str: str, extra_info: Mapping[str, object] | None) -> dict[str, float]:
        """Return the score of one response as verl takes it, with the same keys for every sample: `score`, `acc` (1 where it
        is right), `error` (1 where it could not be judged), and each part under its name."""
        (verdict,) = self.judge([self._prompt(extra_info or {})], [solution_str])
        parts = {part.name: float(verdict.parts.get(part.name, 0.0)) for part in self.config.parts}
        score = 0.0 if verdict.error is not None else verdict.score
        standard = {"score": score, "acc": float(correct(verdict)), "error": float(verdict.error is not None)}
        return {**parts, **standard}

    def rewards(
        self,
        completions: Sequence[object],
        rows: Sequence[str],
        log_metric: Callable[[str, float], None] | None = None,
    ) -> list[float | None]:
        """Return the scores of completions as TRL takes them, None where one could not be judged; `rows` is the column of
        prompts. The mean of each part goes to `log_metric`."""
        prompts = [from_json(row, self.folder, {}) for row in rows]
        verdicts = self.judge(prompts, [completion_text(completion) for completion in completions])
        for part in self.config.parts:
            values = [verdict.parts[part.name] for verdict in verdicts if part.name in verdict.parts]
            if values and log_metric is not None:
                log_metric(f"part/{part.name}", sum(values) / len(values))
        if log_metric is not None:
            log_metric("reward_errors", float(sum(verdict.error is not None for verdict in verdicts)))
        return [None if verdict.error is not None else verdict.score for verdict in verdicts]

    def judge(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[Verdict]:
        """Return the verdicts on responses. Raises ValueError where too many of the recent ones could not be judged."""
        service = self._started()
        scored = service.score([_rollout(prompt, text) for prompt, text in zip(prompts, texts, strict=True)])
        service.check_errors()
        return [sample.verdict for sample in scored]

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            if self._service is not None and self._pid == os.getpid():
                self._service.close()
            self._service = None

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def _started(self) -> RewardService:
        with self._lock:
            if self._service is None or self._pid != os.getpid():  # a fork has no threads of its parent's
                service = RewardService(self.config, self.folder)
                try:
                    service.check_verifiers()
                except BaseException:
                    service.close()
                    raise
                self._service, self._pid = service, os.getpid()
            return self._service

    def _prompt(self, extra_info: Mapping[str, object]) -> Prompt:
        row = extra_info.get(COLUMN)
        if not isinstance(row, str):
            raise ValueError(f"extra_info has no '{COLUMN}'; train on the files that `rl export verl` wrote")
        return from_json(row, self.folder, {key: value for key, value in extra_info.items() if key != COLUMN})


def completion_text(completion: object) -> str:
    """Return the text of a completion of TRL's: a text, or turns."""
    if isinstance(completion, str):
        return completion
    turns = cast("Sequence[Mapping[str, str]]", completion)
    return "\n".join(turn.get("content") or "" for turn in turns if turn.get("role", "assistant") == "assistant")


def _rollout(prompt: Prompt, text: str) -> Rollout:
    """Return a response as a rollout with one token a word."""
    if THINK_CLOSE in text and THINK_OPEN not in text:  # the chat template opened it, before what the model wrote
        text = THINK_OPEN + text
    return replace(Case(text, prompt.answer).rollout(), prompt=prompt)
