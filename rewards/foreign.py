"""Call reward functions in other forms than ours, and read what they answer: verl's, TRL's, OpenRLHF's, plain numbers.

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
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

from rewards.contract import NO_OPINION, Case
from rewards.signatures import TAKES_COLUMNS, Form, Signature
from rl.types import Prompt, Rollout, Verdict

Columns = dict[str, object]
"""Arguments of a call by name."""
GOLD_NAMES = ("answer", "ground_truth", "solution", "gold", "target", "label", "reference")
"""Parameters that get the prompt's answer where no column has their name."""
READ_NAMES = ("pred", "prediction", "extracted", "extracted_answer", "parsed_answer")
"""Keys of a mapping that hold the answer which the function has read."""
SCORE_NAMES = ("score", "reward", "rewards", "scores")
"""Keys of a mapping that hold the score, the likeliest first."""
ABSTAINING: tuple[Form, ...] = ("trl", "single")
"""Forms in which None is no opinion."""
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
    """True where its source reads `content`: completions are turns then, also where the data do not tell."""
    is_constructed: bool = False
    """True where the recipe's arguments went to the constructor of its class."""
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    """The event loop of its process: connections that an async function keeps live on in it."""

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
        match self.form:
            case "verl":
                return verl_arguments(prompt, rollout)
            case "verl_batch":
                return {f"{name}s": [value] for name, value in verl_arguments(prompt, rollout).items()}
            case "ours_batch":
                return {"prompts": [prompt], "rollouts": [rollout]}
            case "openrlhf":
                return {
                    "queries": [prompt.question + rollout.text],
                    "prompts": [prompt.question],
                    "labels": [prompt.answer],
                }
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
        columns = {"id": prompt.id, "source": prompt.source, "answer": prompt.answer, **columns}
        for name in GOLD_NAMES:
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
            # Isolation boundary: a probe is no row of the data, so that whatever it says about it means nothing.
            with contextlib.suppress(BaseException):
                self(_PROBE.rollout().prompt, _PROBE.rollout(), **args)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)


def verl_arguments(prompt: Prompt, rollout: Rollout) -> Columns:
    """Return what verl's reward managers pass for a sample. The ground truth is as the data set has it, a number or a mapping
    too; without verl's columns the prompt's own answer, source and columns take their places."""
    fields = prompt.fields
    recorded = fields.get("reward_model")
    truth = recorded.get("ground_truth") if isinstance(recorded, Mapping) else prompt.answer
    extra = fields.get("extra_info")
    # A copy: verl's functions write into it.
    extra_info = dict(extra) if isinstance(extra, Mapping) else dict(fields)
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
    """What a function of TRL's logs beside its score."""

    metrics: dict[str, float] = field(default_factory=dict[str, float])
    texts: list[str] = field(default_factory=list[str])

    def log_metric(self, name: str, value: object) -> None:
        """Take a number; it becomes a part."""
        number = _number(value)
        if number is not None:
            self.metrics[name] = number

    def log_extra(self, column: str, values: object) -> None:
        """Take a column of texts; that of the sample goes into the reason."""
        self.texts.append(f"{column}: {_items(values)[0] if _items(values) else values}")

    def add_to(self, result: object) -> object:
        """Return the verdict with what was logged."""
        if not isinstance(result, Verdict) or result.error is not None or not (self.metrics or self.texts):
            return result
        reason = "; ".join([*filter(None, [result.reason]), *self.texts])
        return Verdict(result.score, {**self.metrics, **result.parts}, None, reason, result.read)


def read_result(result: object, form: Form) -> object:
    """Return a function's answer as a verdict; what cannot be read as one, as it is or as an error that says why."""
    verdict = _read_batch(result) if form in ("ours_batch", "verl_batch", "trl", "openrlhf") else _read_one(result)
    if form not in ABSTAINING and isinstance(verdict, Verdict) and NO_OPINION in verdict.parts:
        # Elsewhere a None is a forgotten `return`.
        return Verdict(error="answered NoneType, not a Verdict(score=…) of rl.types or a number")
    return verdict


def _read_batch(result: object) -> object:
    """Return the verdict on the one sample of a batch."""
    if isinstance(result, Mapping):
        columns = cast("Mapping[str, object]", result)
        first = {name: _first(value) for name, value in columns.items()}
        return _read_one(first)
    items = _items(result)
    if items is None:
        return _read_one(result)
    if len(items) != 1:
        return Verdict(error=f"answered {len(items)} scores for 1 completion; answer one for each")
    return _read_one(items[0])


def _first(value: object) -> object:
    """Return the one item of a column of scores; anything else as it is."""
    items = _items(value)
    return items[0] if items and len(items) == 1 else value


def _items(value: object) -> list[object] | None:
    """Return the items of a list, a tuple, an array or a tensor that has any dimension; None for anything else."""
    if hasattr(value, "tolist") and not isinstance(value, list | tuple):
        value = value.tolist()  # type: ignore[attr-defined]
    return list(cast("Sequence[object]", value)) if isinstance(value, list | tuple) else None


def _number(value: object) -> float | None:
    """Return a number of Python's, numpy's or torch's, also a bool or an array of one; None for anything else."""
    if hasattr(value, "item") and getattr(value, "size", 1) != 0:
        with contextlib.suppress(ValueError, RuntimeError, TypeError):  # more than one value
            value = value.item()  # type: ignore[attr-defined]
    if isinstance(value, str | bytes | complex) or not hasattr(value, "__float__"):
        return None
    return float(cast(float, value))


def _read_one(result: object) -> object:
    if isinstance(result, Verdict):
        return result
    if result is None:
        return Verdict(0.0, {NO_OPINION: 1.0}, reason="no opinion")
    if isinstance(result, Mapping):
        return _read_mapping(cast("Mapping[str, object]", result))
    if isinstance(result, list | tuple):
        return _read_sequence(list(cast("Sequence[object]", result)))
    score = _number(result)
    if score is None:
        return Verdict(
            error=f"answered {type(result).__name__} {result!r:.60}, not a Verdict(score=…) of rl.types or a number"
        )
    return Verdict(score)


def _read_sequence(items: list[object]) -> object:
    """Return the verdict of (score, …), as some of verl's functions answer: texts are the reason, mappings parts."""
    if not items:
        return Verdict(error="answered an empty list; answer a score")
    score = _number(items[0])
    if score is None:
        return Verdict(error=f"answered a list that begins with {items[0]!r:.60}, not with a score")
    mappings = [cast("Mapping[str, object]", item) for item in items[1:] if isinstance(item, Mapping)]
    merged = {name: value for mapping in mappings for name, value in mapping.items()}
    reason = "; ".join(item for item in items[1:] if isinstance(item, str))
    parts, texts = _split_columns(merged)
    return Verdict(score, parts, reason="; ".join(filter(None, [reason, *texts.values()])))


def _read_mapping(result: Mapping[str, object]) -> object:
    """Return the verdict of a mapping with a score: other numbers are its parts, texts its reason."""
    name = next((name for name in SCORE_NAMES if name in result), None)
    if name is None:
        return Verdict(error=f"answered a mapping without 'score' (it has {', '.join(map(str, result)) or 'nothing'})")
    if result[name] is None:
        return _read_one(None)
    score = _number(result[name])
    if score is None:
        return Verdict(error=f"'{name}' is {result[name]!r:.60}, not a number")
    parts, texts = _split_columns({key: value for key, value in result.items() if key != name})
    read = next((texts.pop(key) for key in READ_NAMES if key in texts), "")
    reason = "; ".join(f"{key}: {text}" for key, text in texts.items() if text)
    return Verdict(score, parts, reason=reason, read=read)


def _split_columns(columns: Mapping[str, object]) -> tuple[dict[str, float], dict[str, str]]:
    """Return (finite numbers, texts) of a mapping; inner mappings as `name/inner`."""
    parts, texts = dict[str, float](), dict[str, str]()
    for name, value in columns.items():
        number = _number(value)
        if isinstance(value, Mapping):
            inner_parts, inner_texts = _split_columns(cast("Mapping[str, object]", value))
            parts |= {f"{name}/{inner}": number for inner, number in inner_parts.items()}
            texts |= {f"{name}/{inner}": text for inner, text in inner_texts.items()}
        elif isinstance(value, str):
            texts[str(name)] = value
        elif number is not None and math.isfinite(number):  # a lack of a side note costs no sample its score
            parts[str(name)] = number
    return parts, texts


def import_all(modules: Sequence[str]) -> None:
    """Import what a function imports in its body, as far as it is there, before its first sample's deadline begins."""
    for module in modules:
        with contextlib.suppress(Exception):  # isolation boundary: the function may never reach this import
            importlib.import_module(module)
