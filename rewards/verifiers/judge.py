"""The opinion of a language model, by a rubric or against a reference; behind an OpenAI-compatible endpoint or in the run.

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

Each criterion gets a whole number from 0 to `scale`; the score is their mean over `scale`, and each is a part. With
`against: answer` the answer is compared with the prompt's reference instead (`rewards.judge.pairwise`). A judge that is
down, slow, broken or refuses is asked again; in the end the sample is an error, never a low score.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from rewards.contract import Case
from rewards.judge import pairwise, rubric
from rewards.judge.cache import OpinionCache
from rewards.judge.endpoint import Counts, Endpoint, ServedJudge, ask
from rewards.judge.pairwise import Against, Order
from rewards.judge.prompt import JudgePrompt, Opinion
from rewards.judge.rubric import TEXTS
from rewards.judge.rubrics import RUBRICS
from rewards.served import Model, ask_once, find_model
from rl.config import ConfigError, build, did_you_mean
from rl.types import Prompt, Rollout, Verdict

DEFAULT = "right"
"""The rubric of a judge that names none."""


@dataclass(frozen=True, slots=True)
class Config:
    """The arguments of the `judge`."""

    endpoint: str | None = None
    """Base address of the API; it usually ends in /v1."""
    model: str = ""
    """The model's name at the endpoint."""
    served: str | None = None
    """The name under which the run serves the judge itself, in place of an endpoint."""
    api_key_env: str | None = None
    """The environment variable that holds the API key; the key itself is never in a recipe."""
    rubric: dict[str, str] | str | None = None
    """Criterion -> the condition under which it gets full marks; or the name of one of `rewards.judge.rubrics`, `right` by
    default. With `against` it may be empty: the judge then says which answer it prefers."""
    against: Against | None = None
    """The reference to compare with: the prompt's `answer`, its `demonstration` or a column, `{field: NAME}`. The judge then
    gives one grade from much worse to much better, and no marks."""
    order: Order = "both"
    """With `against`: `both` asks twice, each answer first once; `drawn` asks once, in an order drawn from the sample's
    name."""
    shows: list[str] | None = None
    """The texts that the judge sees, of question, reference (the gold), reasoning and answer; by default those that the
    named rubric needs, or all but the reasoning."""
    scale: int = 10
    """The highest mark of a criterion."""
    concurrent: int = 32
    """Number of questions in flight at once; for a served judge, the number of conversations in one batch."""
    timeout_s: float = 30.0
    """Seconds for one request."""
    deadline_s: float = 120.0
    """Seconds for one sample, all its tries together; `reward.deadline_s` is for verifiers that compute."""
    retries: int = 4
    """Number of further tries after a failed request."""
    cache: str | None = None
    """A file that keeps opinions over runs; within a run the same question is never asked twice."""
    price: tuple[float, float] = (0.0, 0.0)
    """Price of a million tokens in, and out, from which the metric `cost` is computed."""
    longest: int = 12_000
    """Characters of each text that is shown; the middle of a longer one is left out."""
    options: dict[str, object] = field(default_factory=lambda: {"temperature": 0.0, "max_tokens": 1024})
    """Further parameters of each request, passed through to the endpoint."""

    @property
    def criteria(self) -> Mapping[str, str]:
        """The rubric's criteria with their conditions; none for plain preference."""
        if self.rubric is None:
            return {} if self.against else RUBRICS[DEFAULT].criteria
        return RUBRICS[self.rubric].criteria if isinstance(self.rubric, str) else self.rubric

    @property
    def texts(self) -> Sequence[str]:
        """Names of the texts that the judge sees."""
        return self.shows or RUBRICS[self.rubric if isinstance(self.rubric, str) else DEFAULT].shows

    @property
    def questions(self) -> int:
        """Number of questions to the judge for one sample."""
        return 2 if self.against and self.order == "both" else 1

    @property
    def gold(self) -> Sequence[Case] | None:
        """The cases that the judge must get right; None for a rubric of the user's, which no case of ours can try."""
        if self.against:
            return pairwise.gold_cases(self.against, rubric=bool(self.criteria))
        return None if isinstance(self.rubric, dict) else RUBRICS[self.rubric or DEFAULT].gold

    def validate(self, place: str) -> None:
        """Raise ConfigError for arguments that are out of range or contradict each other."""
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
        for name in self.texts:
            if name not in TEXTS:
                raise ConfigError(f"{place}.shows: unknown '{name}'{did_you_mean(name, TEXTS)}")
        if self.against:
            pairwise.check_against(self.against, f"{place}.against")
        if self.against and (isinstance(self.rubric, str) or self.shows):
            raise ConfigError(
                f"{place}: with `against` a rubric is criterion: when it is met, or none, and `shows` has no say"
            )
        # criteria are keys of the answer's JSON object, beside "why" and "seal"
        is_empty = not self.criteria and not self.against
        if is_empty or any(not name.isidentifier() or name in ("why", "seal") for name in self.criteria):
            raise ConfigError(f"{place}.rubric: name each criterion with a plain word other than why and seal")
        counts = (self.scale, self.concurrent, self.longest)
        if min(counts) < 1 or self.retries < 0 or min(self.timeout_s, self.deadline_s) <= 0:
            raise ConfigError(
                f"{place}: scale, concurrent, longest, timeout_s and deadline_s must be positive, retries not negative"
            )


def verify(prompt: Prompt, rollout: Rollout, **args: object) -> Verdict:
    """Return the judge's verdict, the mean over the rubric's criteria in [0, 1]. Raises ValueError where it gives no usable
    opinion."""

    return ask_once(lambda: connect(args, {}), rollout)


def connect(args: Mapping[str, object], models: Mapping[str, Model]) -> Judge:
    """Return the judge with its arguments, ready to be asked. Raises ConfigError."""
    return Judge(build(Config, args, "judge.args"), models)


class Judge:
    """An LLM judge with one configuration. Not thread-safe: all its methods are called in one event loop."""

    def __init__(self, config: Config, models: Mapping[str, Model]) -> None:
        """Connect to the endpoint or the served model. Raises ConfigError for a missing model, key or cache file."""
        self.config, self.counts = config, Counts(config.price)
        self.gold = config.gold
        if config.served is not None:
            model = find_model(models, config.served, "judge.args.served")
            self._source: Endpoint | ServedJudge = ServedJudge(model, config.concurrent, config.timeout_s)
        else:
            key = os.environ.get(config.api_key_env or "", "")
            if config.api_key_env and not key:
                raise ConfigError(f"judge.args.api_key_env: the variable {config.api_key_env} is not set; export it")
            self._source = Endpoint(str(config.endpoint), config.model, key, config.timeout_s, config.options)
        self._cache = OpinionCache(config.cache)
        self._in_flight: dict[str, asyncio.Future[Opinion]] = {}
        self._slots = asyncio.Semaphore(config.concurrent)

    def metrics(self) -> Mapping[str, float]:
        """Return totals of requests, cached answers, retries, failures, tokens, and the mean latency and cost."""
        return self.counts.metrics()

    async def close(self) -> None:
        """Close the connection and the cache."""
        await self._source.close()
        self._cache.close()

    async def judge(self, rollout: Rollout) -> Verdict:
        """Return the judge's verdict on one sample. Raises ValueError where it gives no usable opinion."""
        config = self.config
        if config.against is None:
            question = rubric.build_question(rollout, config.criteria, config.texts, config.scale, config.longest)
            return rubric.to_verdict(await self.opinion(question), config.scale)
        by_place = {
            policy_is_a: pairwise.build_question(rollout, config.criteria, config.against, policy_is_a, config.longest)
            for policy_is_a in (True, False)
        }
        places = pairwise.draw_places(config.order, rollout)
        if by_place[True].messages == by_place[False].messages:
            # If both answers are the same text, both orders are the same question: it is asked once, and its one
            # opinion counts for both orders, so that no place is favoured.
            places = (True, False)
        questions = [by_place[policy_is_a] for policy_is_a in places]
        results = await asyncio.gather(*map(self.opinion, questions), return_exceptions=True)
        opinions: dict[bool, Opinion] = {}
        for policy_is_a, result in zip(places, results, strict=True):
            if isinstance(result, BaseException):  # raised only now, when no other question is in flight
                raise result
            opinions[policy_is_a] = result
        return pairwise.to_verdict(opinions)

    async def opinion(self, question: JudgePrompt, repeat: int = 0) -> Opinion:
        """Return the opinion on one question: from the cache, from the same question in flight, or from the model. Another
        number of `repeat` asks the model anew."""
        config = self.config
        # All on which an answer depends: the rubric stands in the messages, and deadlines and tries change nothing.
        identity = [config.endpoint, config.model, config.served, config.options, config.scale, question.messages]
        identity += [repeat] if repeat else []
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        opinion = self._cache.get(key)
        if opinion is not None or key in self._in_flight:
            self.counts.add(cached=1)
            # shield: if this sample is cancelled, the sample that asked first still gets its answer
            return opinion or await asyncio.shield(self._in_flight[key])
        self._in_flight[key] = asyncio.ensure_future(self._ask(question))
        try:
            opinion = await self._in_flight[key]
        finally:
            del self._in_flight[key]  # a failure is not cached: the next sample asks again
        self._cache.put(key, opinion)
        return opinion

    async def _ask(self, question: JudgePrompt) -> Opinion:
        config = self.config
        # A served model limits itself by its batches, which fill up only if questions may wait for them.
        is_served = isinstance(self._source, ServedJudge)
        async with nullcontext() if is_served else self._slots:
            return await ask(
                self._source,
                question.messages,
                question.schema,
                question.parse,
                retries=config.retries,
                deadline_s=config.deadline_s,
                counts=self.counts,
            )


GOLD = RUBRICS[DEFAULT].gold
