"""Reward functions made for other libraries judge here: their forms are recognised, isolated, and an error is no score."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rewards import resolve
from rewards.combine import PartConfig, RewardConfig
from rewards.contract import Case
from rewards.foreign import ForeignReward, verl_arguments
from rewards.service import RewardService
from rl.config import ConfigError
from rl.types import RewardSpan, Verdict

FUNCTIONS = """
import asyncio, dataclasses, functools, math
import numpy as np, torch
from rl.types import RewardSpan, Verdict


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return 1.0 if str(ground_truth) in solution_str else 0.0
async def waits(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    await asyncio.sleep(0.01)
    return {"score": np.float32(-1), "acc": np.bool_(True), "pred": "4", "odd": float("nan"), "inner": {"a": 2}}
def compute_score_by_name(**kwargs):
    return kwargs["solution_str"].count("4"), "counted"
def takes_two(solution_str, ground_truth):
    return [True, {"len": 3}]
def whole_batch(data_sources, solution_strs, ground_truths, extra_infos):
    return [{"score": len(solution_strs), "source": data_sources[0]}]
def says_none(data_source, solution_str, ground_truth, extra_info):
    return None
def lacks_score(data_source, solution_str, ground_truth, extra_info):
    return {"acc": 1}
def writes_extra_info(data_source, solution_str, ground_truth, extra_info):
    extra_info["seen"] = True
    return extra_info["index"] + (extra_info["num_turns"] is None)


def columns(completions, solution, **kwargs):
    return [float(s in c) for c, s in zip(completions, solution)]
def wants_column(completions, missing):
    return [1.0]
def wants_gold(completions, ground_truth):
    return [float(ground_truth[0] == "4")]
def turns(completions, prompts, **kwargs):
    return [float(c[0]["content"] == "The answer is 4" and p[-1]["role"] == "user") for c, p in zip(completions, prompts)]
async def logs(prompts, completions, completion_ids, trainer_state, log_extra, log_metric, **kwargs):
    log_extra("text", ["yes"])
    log_metric("length", len(completion_ids[0]))
    return [trainer_state.global_step]
def notes_of_no_number(data_source, solution_str, ground_truth, extra_info):
    arrays = {"probs": np.array([0.1, 0.9]), "none": np.array([])}
    return {"score": 1.0, **arrays, "tensor": torch.ones(2), "empty": torch.tensor([]), "huge": 10**400}
def logs_nan(completions, log_metric, **kwargs):
    log_metric("m", math.nan)
    log_metric("n", 2)
    log_metric("p", np.array([0.1, 0.9]))
    return [1.0]
def marks_and_logs(completions, log_metric, **kwargs):
    log_metric("n", 2)
    return [Verdict(0.5, {"m": 1.0}, reason="marked", spans=(RewardSpan(0, 3, 0.5),))]
def by_keyword(**kwargs):
    return [len(kwargs["completions"])]
def single(completion, answer):
    return completion.endswith(answer)
def openrlhf(queries, prompts, labels):
    return {"rewards": torch.tensor([0.5]), "extra_logs": {"hit": torch.tensor([1.0])}}
def array(completions, **kwargs):
    return np.array([0.25])
def tensor(completions, **kwargs):
    return torch.tensor([[0.75]])[0]
def scalar(completions, **kwargs):
    return 2
def no_opinion(completions, **kwargs):
    return [None]


def raises(completions, **kwargs):
    raise KeyError("x")
def nan(completions, **kwargs):
    return [math.nan]
def too_many(completions, **kwargs):
    return [1, 2]
def text(completions, **kwargs):
    return ["0.5"]
def empty(completions, **kwargs):
    return []
def nothing(data_source, solution_str, ground_truth, extra_info):
    return ()


def plain(prompt, rollout, share=0.5):
    return share
def out_of_range(prompt, rollout):
    return 2.0
async def ours_async(prompt, rollout):
    await asyncio.sleep(0)
    return {"score": 0.25, "kind": 1}
def verify_batch(prompts, rollouts):
    return [0.5 for _ in rollouts]


@dataclasses.dataclass
class Result:
    reward: float
    is_correct: bool
def an_object(data_source, solution_str, ground_truth, extra_info):
    return Result(0.5, True)
def _logged(function):
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper
@_logged
def decorated(data_source, solution_str, ground_truth, extra_info=None):
    return float(ground_truth == "4")
a_lambda = lambda completions, **kwargs: [0.5]
def _weighted(completions, weight, **kwargs):
    return [weight]
partial = functools.partial(_weighted, weight=3)
class Counter:
    def __init__(self, start=0):
        self.count = start
    def __call__(self, completions, **kwargs):
        self.count += 1
        return [self.count]
class Verifier:
    def __init__(self, gold):
        self.gold = gold
    async def compute_score(self, data_source, solution_str, ground_truth, extra_info):
        return self.gold in solution_str
instance = Counter(10)
class Mute:
    def judge(self): ...
def needs(data_source, solution_str, ground_truth, extra_info, model): ...
"""
CASE = Case("The answer is 4", "4", question="2 + 2?", fields={"solution": "4", "extra_info": {"index": 7}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign")
    (path / "foreign.py").write_text(FUNCTIONS)
    return path


def judge(folder: Path, name: str, **args: object) -> Verdict:
    """Judge CASE as a worker does, in this process."""
    spec = f"foreign.py:{name}"
    resolve.check(spec, "p.verifier", folder, args)
    verifier = resolve.load(spec, folder, args)
    assert isinstance(verifier.verify, ForeignReward)
    rollout = CASE.rollout()
    verdict = verifier.verify(rollout.prompt, rollout, **args)
    assert isinstance(verdict, Verdict)
    return verdict


@pytest.mark.parametrize(
    ("name", "score", "parts"),
    [
        ("compute_score", 1.0, {}),
        ("waits", -1.0, {"acc": 1.0, "inner/a": 2.0}),
        ("compute_score_by_name", 1.0, {}),
        ("takes_two", 1.0, {"len": 3.0}),
        ("whole_batch", 1.0, {}),
        ("writes_extra_info", 8.0, {}),
        ("columns", 1.0, {}),
        ("wants_gold", 1.0, {}),
        ("turns", 1.0, {}),
        ("logs", 0.0, {"length": 4.0}),
        ("notes_of_no_number", 1.0, {}),
        ("logs_nan", 1.0, {"n": 2.0}),
        ("marks_and_logs", 0.5, {"n": 2.0, "m": 1.0}),
        ("by_keyword", 1.0, {}),
        ("single", 1.0, {}),
        ("openrlhf", 0.5, {"extra_logs/hit": 1.0}),
        ("array", 0.25, {}),
        ("tensor", 0.75, {}),
        ("scalar", 2.0, {}),
        ("plain", 0.5, {}),
        ("ours_async", 0.25, {"kind": 1.0}),
        ("verify_batch", 0.5, {}),
        ("partial", 3.0, {}),
        ("instance", 11.0, {}),
        ("an_object", 0.5, {"is_correct": 1.0}),
        ("decorated", 1.0, {}),
        ("a_lambda", 0.5, {}),
        ("no_opinion", 0.0, {"no_opinion": 1.0}),
    ],
)
def test_a_score(folder: Path, name: str, score: float, parts: dict[str, float]) -> None:
    verdict = judge(folder, name)
    assert (verdict.score, dict(verdict.parts), verdict.error) == (score, parts, None)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("says_none", "NoneType, not a Verdict"),
        ("lacks_score", "a mapping without 'score'"),
        ("too_many", "2 scores for 1 completion"),
        ("text", "str '0.5', not a Verdict"),
        ("empty", "0 scores for 1 completion"),
        ("nothing", "an empty list"),
    ],
)
def test_an_answer_without_a_score_is_an_error(folder: Path, name: str, error: str) -> None:
    assert error in (judge(folder, name).error or "")


def test_texts_are_read_and_logged(folder: Path) -> None:
    assert judge(folder, "waits").read == "4"
    assert judge(folder, "whole_batch").reason == "source: gold"
    assert judge(folder, "compute_score_by_name").reason == "counted"
    assert judge(folder, "logs").reason == "text: yes"
    assert judge(folder, "marks_and_logs").spans == (RewardSpan(0, 3, 0.5),)


def test_arguments_and_classes(folder: Path) -> None:
    assert judge(folder, "plain", share=0.75).score == 0.75
    assert judge(folder, "Counter", start=5).score == 6
    assert judge(folder, "Verifier", gold="4").score == 1
    with pytest.raises(ValueError, match=r"needs the column 'missing'.*fields: \{missing: COLUMN\}"):
        judge(folder, "wants_column")
    for name, args, message in (
        ("Counter", {"begin": 1}, "unknown key 'begin'; known: start"),
        ("Verifier", {}, "missing key 'gold' of Verifier"),
        ("Mute", {}, "class Mute cannot judge; give it a method __call__"),
        ("needs", {}, "missing key 'model' of needs"),
        ("compute_score", {"strict": True}, "unknown key 'strict'; it takes none"),
        ("compute_score", {"solution_str": "4"}, "'solution_str' is what the function judges"),
    ):
        with pytest.raises(ConfigError, match=message):
            resolve.check(f"foreign.py:{name}", "p.verifier", folder, args)


def test_what_verl_passes() -> None:
    gold = {"target": ["4"]}
    fields = {"data_source": "d", "reward_model": {"ground_truth": gold}, "extra_info": {"index": 1}}
    rollout = Case("4", None, fields=fields).rollout()
    arguments = verl_arguments(rollout.prompt, rollout)
    assert (arguments["data_source"], arguments["solution_str"], arguments["ground_truth"]) == ("d", "4", gold)
    assert arguments["extra_info"] == {"num_turns": None, "rollout_reward_scores": {}, "index": 1}
    assert fields["extra_info"] == {"index": 1}


def test_in_isolation(folder: Path) -> None:
    """What only a first call imports is not waited for within a deadline; errors are no scores; no opinion is no term."""
    (folder / "slow_to_import.py").write_text(
        "import time\nend = time.process_time() + 1.5\nwhile time.process_time() < end: pass\n"
    )
    (folder / "imports.py").write_text(
        "loaded = False\n"
        "def compute_score(data_source, solution_str, ground_truth, extra_info=None):\n"
        "    if data_source == 'never':\n        import nowhere_at_all\n"
        "    import slow_to_import\n    return 2.0\n"
    )  # fmt: skip
    names = ["raises", "nan", "out_of_range", "no_opinion", "Counter"]
    parts = [PartConfig(f"foreign.py:{name}", name, 0.0 if name != "Counter" else 1.0) for name in names]
    config = RewardConfig([PartConfig("imports.py:compute_score"), *parts], deadline_s=1.0)
    rollout = CASE.rollout()
    with RewardService(config, folder) as service:
        service.start()
        verdicts = service.judge_parts([*range(6), 5], [rollout] * 7)
    assert (verdicts[0].score, verdicts[0].error) == (2.0, None)
    assert [verdict.error for verdict in verdicts[1:4]] == [
        "KeyError: 'x'",
        "score nan is not a finite number",
        "score 2.0 is not a number in [0, 1]",
    ]
    assert verdicts[6].score == verdicts[5].score + 1  # one object for all samples of a worker


def test_no_opinion_is_no_term(folder: Path) -> None:
    parts = [PartConfig("foreign.py:scalar"), PartConfig("foreign.py:no_opinion", "mute", 5.0)]
    with RewardService(RewardConfig(parts), folder) as service:
        (sample,) = service.score([CASE.rollout()])
    assert (sample.verdict.score, sample.verdict.error) == (2.0, None)
    assert dict(sample.verdict.parts) == {"accuracy": 2.0, "mute/no_opinion": 1.0}
    with RewardService(RewardConfig(parts[1:]), folder) as service:
        (sample,) = service.score([CASE.rollout()])
    assert "no part of the reward has an opinion on this sample: mute" in (sample.verdict.error or "")
    assert not math.isnan(sample.verdict.score)
