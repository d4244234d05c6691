"""One engine after the other: its samples, its logprobs beside transformers', and what it does with new weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.heads import LogprobModel
from models.load import build
from models.settings import BuildConfig
from models.tokenizer import END_OF_TURN, VOCABULARY
from rollouts.requests import Completion, Request

PROMPT = (257, 263, *b"spell it", 258, 257, 264, 262, 10)


def requests(count: int, max_tokens: int = 24, temperature: float = 1.0) -> list[Request]:
    """Prompts of unequal lengths."""
    return [Request((i, 0), PROMPT + (65 + i,) * (i % 7), 1000 + i, max_tokens, temperature) for i in range(count)]


def write(
    engine: Any, asked: Sequence[Request], version: int, slice_s: float = 0.05
) -> dict[tuple[int, int], Completion]:
    """All completions; the requests trickle in by fives."""
    import ray

    done: dict[tuple[int, int], Completion] = {}
    waiting = list(asked)
    while len(done) < len(asked):
        fresh, waiting = waiting[:5], waiting[5:]
        done |= {c.key: c for c in ray.get(engine.advance.remote(version, fresh, slice_s))}
    return done


def equal(one: Completion, other: Completion) -> bool:
    return np.array_equal(one.tokens, other.tokens) and np.array_equal(one.logprobs, other.logprobs)


def gap(done: dict[Any, Completion], model: LogprobModel, temperature: float = 1.0) -> float:
    """Largest difference between the engine's logprobs and the trainer's model."""
    tokens = [torch.tensor(c.tokens) for c in done.values()]
    action_mask_T = torch.cat([torch.arange(len(c.tokens)) >= c.prompt_length for c in done.values()])
    with torch.no_grad():
        lengths_N = torch.tensor([len(t) for t in tokens])
        logprobs_A, _ = model(torch.cat(tokens), lengths_N, action_mask_T, temperature)
    return float(np.abs(logprobs_A.numpy() - np.concatenate([c.logprobs for c in done.values()])).max())


def handles(model: LogprobModel, dtype: torch.dtype = torch.float32) -> list[dict[str, Any]]:
    """The weights as `PolicyWorker.weights` gives them, in two buckets."""
    import ray

    named = [(n, t.detach().to(dtype)) for n, t in model.lm.named_parameters()]
    arrays = {n: (t.view(torch.uint16) if dtype == torch.bfloat16 else t).numpy() for n, t in named}
    names = sorted(arrays)
    return [{"tensors": ray.put({n: arrays[n] for n in part})} for part in (names[:5], names[5:])]


@pytest.fixture(scope="module")
def untied_engine(start_engine: Callable[[Path], Any], untied: Path, engine: Any) -> Any:
    return start_engine(untied)


@pytest.fixture(scope="module", params=["tied", "untied"])
def served(request: pytest.FixtureRequest, untied_engine: Any, engine: Any) -> tuple[Any, Path, BuildConfig]:
    """(engine, its first model, what other weights for it look like)."""
    import ray

    tied = request.param == "tied"
    actor, folder = (engine if tied else untied_engine), request.getfixturevalue(request.param)
    ray.get(actor.load.remote(1, [{"folder": str(folder)}]))
    config = BuildConfig(hidden_size=64, layers=2, heads=2, kv_heads=None if tied else 1, tied=tied)
    return actor, folder, config


def test_logprobs_are_the_trainers(served: tuple[Any, Path, BuildConfig]) -> None:
    engine, folder, _ = served
    model = LogprobModel(folder, "float32")
    for temperature in (1.0, 0.7):
        done = write(engine, requests(8, temperature=temperature), version=1)
        assert gap(done, model, temperature) <= 1e-5
    (greedy,) = write(engine, requests(1, temperature=0.0), version=1).values()
    with torch.no_grad():
        logits_TV = LogprobModel(folder, "float32").lm.lm_head(_states(model, greedy))
    assert (
        logits_TV.argmax(-1)[greedy.prompt_length - 1 : -1].tolist() == greedy.tokens[greedy.prompt_length :].tolist()
    )


def _states(model: LogprobModel, completion: Completion) -> torch.Tensor:
    from models.attention import Segments

    segments = Segments.from_lengths(torch.tensor([len(completion.tokens)]))
    return model.lm.get_decoder()(
        input_ids=torch.tensor(completion.tokens)[None],
        position_ids=segments.positions_T[None],
        use_cache=False,
        segments=segments,
    ).last_hidden_state[0]


def test_new_weights_are_used_whole(served: tuple[Any, Path, BuildConfig], tmp_path: Path) -> None:
    """From handles, in float32 and bfloat16 (also as a tensor-parallel engine's processes get them), and from a folder: each time the very next sample is the new policy's,
    although the prompt's keys and values of the old one were cached."""
    import ray

    engine, first, config = served
    block = ray.get(engine.__ray_call__.remote(lambda self: self.engine.vllm_config.cache_config.block_size))
    long = [replace(r, tokens=(65, 66) * block + r.tokens) for r in requests(4, max_tokens=8)]
    assert len(long[0].tokens) + 8 < 512
    before = write(engine, long, version=1)
    other = build(config, tmp_path / "other", seed=9)
    new = LogprobModel(other, "float32")
    rounded = LogprobModel(other, "float32")
    rounded.load_state_dict({n: t.bfloat16().float() for n, t in rounded.state_dict().items()})
    old = LogprobModel(first, "float32")
    updates = [
        (handles(new), new),
        (handles(rounded, torch.bfloat16), rounded),
        (handles(new), new),
        (handles(rounded, torch.bfloat16), rounded),
        ([{"folder": str(other)}], new),
        ([{"folder": str(first)}], old),
    ]
    for version, (weights, model) in enumerate(updates, start=2):
        ray.get(
            engine.__ray_call__.remote(lambda self, parallel: setattr(self, "parallel", parallel), version in (4, 5))
        )
        assert ray.get(engine.load.remote(version, weights)).version == version
        done = write(engine, long, version)
        assert gap(done, model) <= 1e-5
        assert {v for c in done.values() for v, _ in c.spans} == {version}
    assert gap(done, new) > 0.1
    assert all(equal(done[key], before[key]) for key in before)
    ray.get(engine.load.remote(1, [{"folder": str(first)}]))


def test_a_sample_depends_on_its_seed_alone(served: tuple[Any, Path, BuildConfig]) -> None:
    engine, *_ = served
    asked = requests(23, max_tokens=40)
    together = write(engine, asked, version=1)
    for subset, slice_s in ((asked[::-1], 0.0), (asked[4:5], 1.0), (asked[3::2], 0.02)):
        done = write(engine, subset, version=1, slice_s=slice_s)
        assert all(equal(done[key], together[key]) for key in done)
    again = write(engine, [replace(r, seed=r.seed + 1) for r in asked], version=1)
    assert not any(equal(again[key], together[key]) for key in again)


def test_a_sample_ends_with_its_turn_or_at_its_limit(served: tuple[Any, Path, BuildConfig]) -> None:
    engine, *_ = served
    end = VOCABULARY[END_OF_TURN]
    done = write(engine, requests(60, max_tokens=50), version=1).values()
    for c in done:
        written = c.tokens[c.prompt_length :]
        assert len(written) == len(c.logprobs) <= 50
        assert end not in written[:-1]
        assert c.finish_reason == ("stop" if written[-1] == end else "length")
        assert c.finish_reason == "stop" or len(written) == 50
    assert {c.finish_reason for c in done} == {"stop", "length"}


def test_a_sample_ends_at_the_ends_of_its_request(engine: Any, tied: Path) -> None:
    """As at the template's end of turn, which config.json need not know; the token itself is the sample's last."""
    import ray

    ray.get(engine.load.remote(1, [{"folder": str(tied)}]))
    (whole,) = write(engine, requests(1), version=1).values()
    written = whole.tokens[whole.prompt_length :].tolist()
    end = written[5]
    (cut,) = write(engine, [replace(requests(1)[0], ends=(end,))], version=1).values()
    assert cut.tokens[cut.prompt_length :].tolist() == written[: written.index(end) + 1]
    assert cut.finish_reason == "stop"


def test_an_engine_refuses_to_write_for_another_version(served: tuple[Any, Path, BuildConfig], tmp_path: Path) -> None:
    import ray

    engine, first, _ = served
    with pytest.raises(RuntimeError, match="the engine holds policy version 1, not 2: load the weights first"):
        ray.get(engine.advance.remote(2, [], 0.1))
    for incomplete in ([{"folder": str(tmp_path)}], handles(LogprobModel(first, "float32"))[:1]):
        with pytest.raises(ValueError, match="the new weights lack"):
            ray.get(engine.load.remote(5, incomplete))
        with pytest.raises(RuntimeError, match="the engine holds policy version -1, not 5"):
            ray.get(engine.advance.remote(5, [], 0.1))
    assert ray.get(engine.load.remote(1, [{"folder": str(first)}])).version == 1
    assert gap(write(engine, requests(2), 1), LogprobModel(first, "float32")) <= 1e-5
