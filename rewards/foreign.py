"""Calls reward functions in other forms than ours, and reads what they answer: verl's, TRL's, OpenRLHF's, plain
numbers.

Each sample is judged alone: functions over a batch get batches of one. `None` in TRL's form is no opinion, and so is part of
no score; NaN, a wrong number of scores and whatever is raised are errors of the sample.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import math
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import cast

from rewards.answer_forms import as_mapping, first_item, read_number, read_result
from rewards.contract import Case
from rewards.signatures import TAKES_COLUMNS, Form, Signature
from rl.types import Prompt, Rollout, Verdict

Columns = dict[str, object]
"""Arguments of a call by name."""
GOLD_NAMES = ("answer", "ground_truth", "solution", "gold", "target", "label", "reference")
"""Parameters that get the prompt's answer where no column has their name."""
_PROBE = Case("yes", "yes", question="Say yes.")
_WARM_UP_S = 60  # of the clock, for the first call, which may load a model; an import has passed by then


@dataclass(slots=True)
class ForeignReward:
    """A user's reward function behind our contract: called with a prompt and a rollout, it answers a Verdict, or what it got
    where that cannot be read as one."""

    function: Callable[..., object]
    form: Form
    signature: Signature
    reads_turns: bool = False
    """True if its source reads `content`: then completions are passed as turns even if the data's prompts are texts."""
    is_constructed: bool = False
    """True where the recipe's arguments went to the constructor of its class."""
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    """The event loop of its process, kept between samples so that an async function's connections stay open."""

    def __call__(self, prompt: Prompt, rollout: Rollout, **args: object) -> object:
        """Return the verdict on a rollout."""
        args = {} if self.is_constructed else args
        notes = _Notes()
        if self.form == "ours":
            result = self.function(prompt, rollout, **args)
        else:
            result = self.function(**self._select(self._arguments(prompt, rollout, notes), args))
        if inspect.isawaitable(result):
            result = self.runner.run(_finish(result))
        return notes.add_to(read_result(result, self.form))

    def _arguments(self, prompt: Prompt, rollout: Rollout, notes: _Notes) -> Columns:
        """Return all that its form passes."""
        if self.form == "verl":
            return verl_arguments(prompt, rollout)
        if self.form == "verl_batch":
            return {f"{name}s": [value] for name, value in verl_arguments(prompt, rollout).items()}
        if self.form == "ours_batch":
            return {"prompts": [prompt], "rollouts": [rollout]}
        if self.form == "openrlhf":
            question = prompt.question
            return {"queries": [question + rollout.text], "prompts": [question], "labels": [prompt.answer]}
        question, completion = self._texts(prompt, rollout)
        columns = self._columns(prompt)
        if self.form == "single":
            return {**columns, "prompt": question, "completion": completion, "state": dict(columns)}
        return {
            **{name: [value] for name, value in columns.items()},
            "prompts": [question],
            "completions": [completion],
            "completion_ids": [rollout.tokens[rollout.action_mask].tolist()],
            "trainer_state": SimpleNamespace(global_step=rollout.version, max_steps=0, epoch=0.0),
            "log_extra": notes.log_extra,
            "log_metric": notes.log_metric,
        }

    def _texts(self, prompt: Prompt, rollout: Rollout) -> tuple[object, object]:
        """Return (prompt, completion): turns where the data's prompt is turns, else texts."""
        recorded = prompt.fields.get("prompt")
        if isinstance(recorded, list) or (not isinstance(recorded, str) and self.reads_turns):
            turns = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
            return turns, [{"role": "assistant", "content": rollout.text}]
        return prompt.question, rollout.text

    def _columns(self, prompt: Prompt) -> Columns:
        """Return the prompt's columns, as the data set has them."""
        columns = {name: value for name, value in prompt.fields.items() if name not in ("prompt", "completion")}
        # A column of the data that has one of these names wins.
        columns = {"id": prompt.id, "source": prompt.source, "answer": prompt.answer, **columns}
        for name in GOLD_NAMES:
            # One with a default may mean something else by the name, and works without.
            if name in self.signature.required and name not in columns:
                columns[name] = prompt.answer
        return columns

    def _select(self, passed: Columns, args: Mapping[str, object]) -> Columns:
        """Return those of the arguments that it takes. Raises ValueError where it needs a column that the prompt has not."""
        everything = {**passed, **args}
        missing = [name for name in self.signature.required if name not in everything]
        if missing and self.form in TAKES_COLUMNS:
            raise ValueError(
                f"it needs the column '{missing[0]}', which the prompt has not; map it: data.NAME.fields: "
                f"{{{missing[0]}: COLUMN}}"
            )
        if self.signature.has_kwargs:
            return everything
        return {name: value for name, value in everything.items() if name in self.signature.names}

    def warm_up(self, args: Mapping[str, object]) -> None:
        """Call it once, so that what only a first call imports or loads is not waited for in a sample's deadline."""
        previous = signal.signal(signal.SIGALRM, _raise_timeout)
        signal.setitimer(signal.ITIMER_REAL, _WARM_UP_S)
        try:
            # Isolation boundary: the probe is no row of the data, so what the function says or raises about it means
            # nothing.
            with contextlib.suppress(BaseException):
                self(_PROBE.rollout().prompt, _PROBE.rollout(), **args)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)


def verl_arguments(prompt: Prompt, rollout: Rollout) -> Columns:
    """Return what verl's reward managers pass for a sample. The ground truth is as the data set has it, a number or a mapping
    too; without verl's columns the prompt's own answer, source and columns take their places."""
    fields = prompt.fields
    recorded, extra = as_mapping(fields.get("reward_model")), as_mapping(fields.get("extra_info"))
    truth = prompt.answer if recorded is None else recorded.get("ground_truth")
    # A copy: verl's functions write into it.
    extra_info = dict(fields if extra is None else extra)
    return {
        "data_source": fields.get("data_source", prompt.source),
        "solution_str": rollout.text,
        "ground_truth": truth,
        "extra_info": {"num_turns": None, "rollout_reward_scores": {}, **extra_info},
    }


async def _finish(awaitable: object) -> object:
    return await cast("asyncio.Future[object]", awaitable)


def _raise_timeout(*_: object) -> None:
    raise TimeoutError


@dataclass(slots=True)
class _Notes:
    """Metrics and columns that a function of TRL's logs beside its score."""

    metrics: dict[str, float] = field(default_factory=dict[str, float])
    texts: list[str] = field(default_factory=list[str])

    def log_metric(self, name: str, value: object) -> None:
        """Take a number; it becomes a part."""
        number = read_number(value)
        if number is not None and math.isfinite(number):  # a lack of a side note costs no sample its score
            self.metrics[name] = number

    def log_extra(self, column: str, values: object) -> None:
        """Take a column of texts; that of the sample goes into the reason."""
        self.texts.append(f"{column}: {first_item(values)}")

    def add_to(self, result: object) -> object:
        """Return the verdict with what was logged."""
        if not isinstance(result, Verdict) or result.error is not None or not (self.metrics or self.texts):
            return result
        reason = "; ".join([*filter(None, [result.reason]), *self.texts])
        return replace(result, parts={**self.metrics, **result.parts}, reason=reason)


def import_all(modules: Sequence[str]) -> None:
    """Import what a function imports in its body, as far as it is there, before its first sample's deadline begins."""
    for module in modules:
        with contextlib.suppress(Exception):  # isolation boundary: the function may never reach this import
            importlib.import_module(module)
