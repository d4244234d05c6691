"""What listening costs: the encoder over clips of several lengths, how often features are reused, and rollouts beside
vLLM's own offline `LLM.generate` on the same prompts, in turns.

scripts/bench audio [--json FILE] [--rounds N] [key=value …]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import ray
import torch
from rich.console import Console
from rich.table import Table

from models.heads import LogprobModel
from models.load import AudioConfig, BuildConfig, build
from rl.audio import SAMPLE_RATE
from rl.data.collate import collate
from rl.data.tasks.sounds import sounds
from rl.recipe import load
from rl.types import Prompt, Rollout, Scored, Verdict
from rl.workers.cluster import Cluster
from rollouts.serving import ENVIRONMENT
from rollouts.worker import EngineWorker, Request

SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
WINDOW_S = 30.0
PROMPTS, SAMPLES, NEW_TOKENS = 8, 16, 64
AUDIO = AudioConfig(mel_bins=128, hidden_size=256, layers=4, heads=4)
BUILD = BuildConfig(hidden_size=128, layers=4, heads=4, audio=AUDIO)


def encoder_cost(model: Path, repeats: int = 5) -> dict[str, float]:
    """Milliseconds for one clip of so many seconds (the fastest of a few), and for half a second padded to a window."""
    torch.set_num_threads(1)
    policy, random = LogprobModel(model, "float32"), np.random.default_rng(0)

    def fastest(wave: np.ndarray) -> float:
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            policy.encode([wave])
            times.append(time.perf_counter() - began)
        return 1000 * min(times)

    clips = {f"{s:g}": random.normal(0, 0.1, round(s * SAMPLE_RATE)).astype(np.float32) for s in SECONDS}
    padded = np.pad(clips["0.5"], (0, round((WINDOW_S - 0.5) * SAMPLE_RATE)))
    return {name: fastest(wave) for name, wave in {**clips, "0.5 padded to 30": padded}.items()}


class Alone(EngineWorker):
    """Ray actor: vLLM's offline entry point with the engine options and sampling parameters of ours."""

    def __init__(self, model: str, longest: int) -> None:
        from vllm import LLM

        torch.set_num_threads(1)
        self.llm = LLM(
            model,
            dtype="float32",
            max_model_len=longest,
            max_num_seqs=256,
            max_num_batched_tokens=8192,
            enforce_eager=True,
            enable_chunked_prefill=False,
            logprobs_mode="processed_logprobs",
            distributed_executor_backend="uni",
            kv_cache_memory_bytes=512 << 20,
            disable_log_stats=True,
            seed=0,
        )
        self.stop_tokens = [self.llm.llm_engine.model_config.hf_text_config.eos_token_id]

    def write(self, requests: Sequence[Request]) -> tuple[float, list[list[int]]]:
        """(seconds, what was written to each)."""
        from rollouts.worker import _prompt

        began = time.perf_counter()
        prompts, settings = [_prompt(r) for r in requests], [self._sampling(r) for r in requests]
        outputs = self.llm.generate(prompts, settings, use_tqdm=False)
        return time.perf_counter() - began, [list(output.outputs[0].token_ids) for output in outputs]


def prompts_of(round_: int) -> list[Prompt]:
    """Made sounds that no other round has: two clips each."""
    made = sounds("train", kinds=["higher", "longer"], size=400, seed=round_)
    return list(islice(made, PROMPTS))


def rollouts(model: Path, rounds: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Tokens a second of both, round by round in turns, and how many clips were asked for and encoded by the trainer."""
    longest = 256
    what = load(
        {
            "name": "bench-audio",
            "model": {"path": str(model)},
            "data": {"sounds": {"source": "sounds"}},
            "reward": {"parts": [{"verifier": "text"}]},
            "stages": [{"rlvr": {"data": "sounds", "max_sequence_tokens": longest}}],
        },
        overrides,
    )
    header, ours, theirs, tokens = what.header, list[float](), list[float](), 0
    with Cluster(what.roles, header.cluster, header.engines, header.trainer, header.model, model, longest) as cluster:
        alone = ray.remote(Alone).options(num_cpus=0, runtime_env={"env_vars": ENVIRONMENT}).remote(str(model), longest)
        sampler = cluster.sampler
        sampler.load(model)
        for round_ in range(-1, rounds):  # the first warms up
            prompts = prompts_of(round_)
            room = max(sampler._encoded(prompt)[1] for prompt in prompts) + NEW_TOKENS
            asked = list(sampler._requests(prompts, SAMPLES, 1.0, room, round_))
            began = time.perf_counter()
            done = [
                rollout
                for some in sampler.generate(
                    prompts, samples=SAMPLES, temperature=1.0, max_sequence_tokens=room, seed=round_
                )
                for rollout in some
            ]
            seconds = time.perf_counter() - began
            others, written = ray.get(alone.write.remote(asked))
            check(done, asked, written, prompts)
            if round_ >= 0:
                tokens = sum(map(len, written))
                ours.append(tokens / seconds)
                theirs.append(tokens / others)
        ray.kill(alone)
        reuse = features(cluster, header, model, done)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"ours": ours, "alone": theirs, "ratios": ratios, "tokens": tokens, **reuse}


def check(
    done: Sequence[Rollout], asked: Sequence[Request], written: Sequence[list[int]], prompts: Sequence[Prompt]
) -> None:
    """Both wrote the very same."""
    theirs = {(prompts[r.key[0]].id, r.key[1]): tokens for r, tokens in zip(asked, written, strict=True)}
    for rollout in done:
        assert rollout.tokens[rollout.action_mask].tolist() == theirs[rollout.prompt.id, rollout.sample]


def features(cluster: Cluster, header: Any, model: Path, done: Sequence[Rollout]) -> dict[str, int]:
    """Clips asked for and encoded in what a PPO step of two epochs does with the rollouts."""
    from rl.workers.optimizer import OptimizerConfig

    policy, critic = cluster.policy, cluster.critic
    for group in (policy, critic):
        group.load(model, header.model, OptimizerConfig())
    batch = collate([Scored(rollout, Verdict(1.0)) for rollout in done])
    for _ in range(2):
        policy.logprobs(batch).get()
        critic.values(batch).get()
    return {"asked": policy.audio_features.clips_requested, "encoded": policy.audio_features.clips_encoded}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        model = build(BUILD, Path(folder) / "model", seed=0)
        result = {"encoder_ms": encoder_cost(model), **rollouts(model, options.rounds, options.overrides)}
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    Console().print(table(result))


def table(result: dict[str, Any]) -> Table:
    costs = result["encoder_ms"]
    drawn = Table("", "measured")
    for name, cost in costs.items():
        drawn.add_row(f"encoder, a clip of {name} s", f"{cost:.1f} ms")
    drawn.add_row("padded ÷ its own length, 0.5 s", f"{costs['0.5 padded to 30'] / costs['0.5']:.0f} ×")
    drawn.add_row("clips asked for ÷ encoded", f"{result['asked']} ÷ {result['encoded']}")
    drawn.add_row("features reused", f"{1 - result['encoded'] / result['asked']:.1%}")
    low, middle, high = np.percentile(result["ratios"], [0, 50, 100])
    drawn.add_row("rollout tokens/s ÷ vLLM offline", f"{middle:.2f} ({low:.2f} – {high:.2f})")
    drawn.add_row(
        "rollout tokens/s", f"{np.median(result['ours']):,.0f}, vLLM offline {np.median(result['alone']):,.0f}"
    )
    return drawn


if __name__ == "__main__":
    main()
