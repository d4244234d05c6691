"""A language model's opinion, by a rubric or beside a reference: of an OpenAI-compatible endpoint, or of the run's own.

    - verifier: judge
      name: quality
      weight: 0.3
      args:
        endpoint: http://127.0.0.1:8000/v1
        model: Qwen/Qwen2.5-72B-Instruct
        api_key_env: JUDGE_KEY
        rubric:
          heard: The reasoning names what can be heard, not what a transcript would say.
          clear: Every step follows from the one before.

Each criterion gets a whole number from 0 to `scale`; the score is their mean over `scale`, each is a part. With
`against: answer` the answer is compared with the prompt's reference instead (`rewards.judge.pairwise`). Down, slow, broken or
refusing: tried again, then an error, never a low score.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from rewards.contract import Case
from rewards.judge import pairwise, rubric
from rewards.judge.cache import Store
from rewards.judge.endpoint import Counts, Embedded, Endpoint, ask
from rewards.judge.pairwise import Against, Order
from rewards.judge.prompt import JudgePrompt, Opinion
from rewards.judge.rubric import SHOWN
from rewards.judge.rubrics import RUBRICS
from rewards.served import Model, named
from rl.config import ConfigError, build, did_you_mean
from rl.types import Prompt, Rollout, Verdict

DEFAULT = "right"
"""The rubric of who names none."""


@dataclass(frozen=True, slots=True)
class Config:
    endpoint: str | None = None
    """Base address of the API, ending in /v1 as a rule."""
    model: str = ""
    served: str | None = None
    """Instead of an endpoint: the name under which the run serves the judge."""
    api_key_env: str | None = None
    """The environment variable that holds the key; the key itself is never in a recipe."""
    rubric: dict[str, str] | str | None = None
    """Criterion -> when it is met in full; or the name of one of `rewards.judge.rubrics`, `right` by default. With `against` it
    may be empty: plain preference."""
    against: Against | None = None
    """Compare with the prompt's `answer`, its `demonstration` or a column, `{field: NAME}`: one grade from much worse to
    much better instead of marks."""
    order: Order = "both"
    """With `against`: ask twice, each answer first once, or once in an order that is drawn from the sample's name."""
    shows: list[str] | None = None
    """What the judge sees of question, reference (the gold), reasoning, answer; what the named rubric needs, or all but
    the reasoning."""
    scale: int = 10
    concurrent: int = 32
    """Questions under way at once; of a served judge, conversations in one batch."""
    timeout_s: float = 30.0
    """For one request."""
    deadline_s: float = 120.0
    """For one sample, all its tries together; `reward.deadline_s` is for verifiers that compute."""
    retries: int = 4
    cache: str | None = None
    """A file that keeps verdicts over runs; within a run the same question is never asked twice."""
    price: tuple[float, float] = (0.0, 0.0)
    """Of a million tokens in, and out: what `cost` is counted with."""
    longest: int = 12_000
    """Characters of each text that is shown; the middle of a longer one is left out."""
    options: dict[str, Any] = field(default_factory=lambda: {"temperature": 0.0, "max_tokens": 1024})
    """Passed through to the endpoint."""

    @property
    def criteria(self) -> Mapping[str, str]:
        if self.rubric is None:
            return {} if self.against else RUBRICS[DEFAULT].criteria
        return RUBRICS[self.rubric].criteria if isinstance(self.rubric, str) else self.rubric

    @property
    def shown(self) -> Sequence[str]:
        return self.shows or RUBRICS[self.rubric if isinstance(self.rubric, str) else DEFAULT].shows

    @property
    def questions(self) -> int:
        """How often a sample has the judge asked."""
        return 2 if self.against and self.order == "both" else 1

    @property
    def gold(self) -> Sequence[Case] | None:
        if self.against:
            return pairwise.gold(self.against, rubric=bool(self.criteria))
        return None if isinstance(self.rubric, dict) else RUBRICS[self.rubric or DEFAULT].gold

    def validate(self, place: str) -> None:
        if (self.endpoint is None) == (self.served is None):
            raise ConfigError(f"{place}: name either an `endpoint` with its `model`, or a `served` judge")
        if self.endpoint is not None and not (self.endpoint.startswith(("http://", "https://")) and self.model):
            raise ConfigError(f"{place}: an endpoint needs an http address and a `model`")
        if "@" in (self.endpoint or ""):
            raise ConfigError(
                f"{place}.endpoint: holds a password; put it in a variable and name that in `api_key_env`"
            )
        if isinstance(self.rubric, str) and self.rubric not in RUBRICS:
            raise ConfigError(f"{place}.rubric: unknown '{self.rubric}'{did_you_mean(self.rubric, RUBRICS)}")
        for name in self.shown:
            if name not in SHOWN:
                raise ConfigError(f"{place}.shows: unknown '{name}'{did_you_mean(name, SHOWN)}")
        if self.against:
            pairwise.check(self.against, f"{place}.against")
        if self.against and (isinstance(self.rubric, str) or self.shows):
            raise ConfigError(
                f"{place}: with `against` a rubric is criterion: when it is met, or none, and `shows` has no say"
            )
        nameless = not self.criteria and not self.against
        if nameless or any(not name.isidentifier() or name in ("why", "seal") for name in self.criteria):
            raise ConfigError(f"{place}.rubric: name each criterion with a plain word other than why and seal")
        if min(self.scale, self.concurrent) < 1 or self.retries < 0 or min(self.timeout_s, self.deadline_s) <= 0:
            raise ConfigError(
                f"{place}: scale, concurrent, timeout_s and deadline_s must be positive, retries not negative"
            )


def verify(prompt: Prompt, rollout: Rollout, **args: Any) -> Verdict:
    """The mean over the rubric's criteria in [0, 1]. Raises ValueError where no usable opinion is to be had."""

    async def once() -> Verdict:
        panel = serve(args, {})
        try:
            return await panel.judge(rollout)
        finally:
            await panel.close()

    return asyncio.run(once())


def serve(args: Mapping[str, Any], served: Mapping[str, Model]) -> Panel:
    """The judge with its arguments, ready to be asked. Raises ConfigError."""
    return Panel(build(Config, args, "judge.args"), served)


class Panel:
    """One configured judge. All its methods belong to one event loop."""

    def __init__(self, config: Config, served: Mapping[str, Model]) -> None:
        self.config, self.counts = config, Counts(config.price)
        self.gold = config.gold
        if config.served is not None:
            model = named(served, config.served, "judge.args.served")
            self._source: Endpoint | Embedded = Embedded(model, config.concurrent, config.timeout_s)
        else:
            key = os.environ.get(config.api_key_env or "", "")
            if config.api_key_env and not key:
                raise ConfigError(f"judge.args.api_key_env: the variable {config.api_key_env} is not set; export it")
            self._source = Endpoint(str(config.endpoint), config.model, key, config.timeout_s, config.options)
        self._store = Store(config.cache)
        self._asked: dict[str, asyncio.Future[Opinion]] = {}
        self._turns: asyncio.Semaphore | None = None

    def metrics(self) -> Mapping[str, float]:
        return self.counts.metrics()

    async def close(self) -> None:
        await self._source.close()
        self._store.close()

    async def judge(self, rollout: Rollout) -> Verdict:
        config = self.config
        if config.against is None:
            asked = rubric.question(rollout, config.criteria, config.shown, config.scale, config.longest)
            return rubric.verdict(await self._opinion(asked), config.scale)
        first = pairwise.places(config.order, rollout)
        compared = [
            pairwise.question(rollout, config.criteria, config.against, place, config.longest) for place in first
        ]
        opinions = await asyncio.gather(*map(self._opinion, compared), return_exceptions=True)
        given: dict[bool, Opinion] = {}
        for place, opinion in zip(first, opinions, strict=True):
            if isinstance(opinion, BaseException):  # now that nothing is under way any more
                raise opinion
            given[place] = opinion
        return pairwise.verdict(given)

    async def _opinion(self, asked: JudgePrompt) -> Opinion:
        config = self.config
        about = [config.endpoint, config.model, config.served, config.options, config.scale, asked.messages]
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        opinion = self._store.get(key)
        if opinion is not None or key in self._asked:
            self.counts.add(cached=1)
            return opinion or await asyncio.shield(self._asked[key])
        self._asked[key] = asyncio.ensure_future(self._ask(asked))
        try:
            opinion = await self._asked[key]
        finally:
            del self._asked[key]  # a failure is not remembered
        self._store.put(key, opinion)
        return opinion

    async def _ask(self, asked: JudgePrompt) -> Opinion:
        config = self.config
        self._turns = self._turns or asyncio.Semaphore(config.concurrent)
        batched = isinstance(self._source, Embedded)
        async with nullcontext() if batched else self._turns:
            return await ask(
                self._source,
                asked.messages,
                asked.schema,
                asked.read,
                retries=config.retries,
                deadline_s=config.deadline_s,
                counts=self.counts,
            )


GOLD = RUBRICS[DEFAULT].gold
