"""Measures the cost of audio: the encoder on clips of several lengths, the reuse of features, and rollouts beside
vLLM's own `LLM.generate` on the same prompts, in turns.

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
from tables import show

from models.heads import LogprobModel
from models.load import build
from models.settings import AudioConfig, BuildConfig
from rl.audio import SAMPLE_RATE
from rl.data.collate import collate
from rl.data.tasks.sounds import sounds
from rl.recipe import load
from rl.types import Prompt, Rollout, Scored, Verdict
from rl.workers.cluster import Cluster
from rollouts.requests import Request
from rollouts.sampler import NO_CUTS, NO_OPENINGS, _Limits
from rollouts.serving import ENVIRONMENT
from rollouts.vllm_terms import sampling_parameters
from rollouts.worker import EngineWorker

SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
WINDOW_S = 30.0
PROMPTS, SAMPLES, NEW_TOKENS = 8, 16, 64
AUDIO = AudioConfig(mel_bins=128, hidden_size=256, layers=4, heads=4)
BUILD = BuildConfig(hidden_size=128, layers=4, heads=4, audio=AUDIO)


def measure_encoder(model: Path, repeats: int = 5) -> dict[str, float]:
    """Return {seconds of a clip: milliseconds to encode it}, the fastest of `repeats`, and the same for half a second
    padded to Whisper's window of 30 s."""
    torch.set_num_threads(1)
    policy, random = LogprobModel(model, "float32"), np.random.default_rng(0)

    def fastest_ms(wave: np.ndarray) -> float:
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            policy.encode([wave])
            times.append(time.perf_counter() - began)
        return 1000 * min(times)

    clips = {f"{s:g}": random.normal(0, 0.1, round(s * SAMPLE_RATE)).astype(np.float32) for s in SECONDS}
    padded = np.pad(clips["0.5"], (0, round((WINDOW_S - 0.5) * SAMPLE_RATE)))
    return {name: fastest_ms(wave) for name, wave in {**clips, "0.5 padded to 30": padded}.items()}


class OfflineEngine(EngineWorker):
    """A Ray actor with vLLM's offline entry point, the engine options and the sampling parameters of our engines."""

    def __init__(self, model: str, max_tokens: int) -> None:
        from vllm import LLM

        from rollouts.cpu_sampling import use_one_draw

        torch.set_num_threads(1)
        self.llm = LLM(
            model,
            trust_remote_code=False,
            dtype="float32",
            max_model_len=max_tokens,
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
        # The same random draws as in our engines: otherwise the two would write different tokens and could not be
        # compared.
        self.llm.collective_rpc(use_one_draw)
        self.keeps_cache = False
        self.stop_tokens = [self.llm.llm_engine.model_config.hf_text_config.eos_token_id]

    def write(self, requests: Sequence[Request]) -> tuple[float, list[list[int]]]:
        """Return (seconds, sampled tokens of each request)."""
        began = time.perf_counter()
        prompts, settings = (
            [self._prompt(r) for r in requests],
            [sampling_parameters(r, self.stop_tokens) for r in requests],
        )
        outputs = self.llm.generate(prompts, settings, use_tqdm=False)
        return time.perf_counter() - began, [list(output.outputs[0].token_ids) for output in outputs]


def build_prompts(seed: int) -> list[Prompt]:
    """Return prompts on synthetic sounds, two clips each, that no other seed has."""
    return list(islice(sounds("train", kinds=["higher", "longer"], size=400, seed=seed), PROMPTS))


def measure_rollouts(model: Path, rounds: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Return tokens per second of both, round by round, and the clips that the trainer asked for and encoded."""
    max_tokens = 256
    recipe = load(
        {
            "name": "bench-audio",
            "model": {"path": str(model), "think": True},
            "data": {"sounds": {"source": "sounds"}},
            "reward": {"parts": [{"verifier": "text"}]},
            "stages": [{"rlvr": {"data": "sounds", "max_sequence_tokens": max_tokens}}],
        },
        overrides,
    )
    header, ours, theirs, tokens = recipe.header, list[float](), list[float](), 0
    with Cluster(
        recipe.roles, header.cluster, header.engines, header.trainer, header.model, model, max_tokens
    ) as cluster:
        offline = (
            ray.remote(OfflineEngine)
            .options(num_cpus=0, runtime_env={"env_vars": ENVIRONMENT})
            .remote(str(model), max_tokens)
        )
        sampler = cluster.sampler
        sampler.load(model)
        for round_ in range(-1, rounds):  # the first warms up
            prompts = build_prompts(round_)
            limit = max(sampler._encode(prompt)[1] for prompt in prompts) + NEW_TOKENS
            first = sampler.groups  # the number that the sampler gives to the first of these prompts
            limits = _Limits(SAMPLES, 1.0, limit, round_, None)
            requests = list(sampler._requests(prompts, limits, (), NO_OPENINGS, NO_CUTS))
            began = time.perf_counter()
            rollouts = [
                rollout
                for group in sampler.generate(
                    prompts, samples=SAMPLES, temperature=1.0, max_sequence_tokens=limit, seed=round_
                )
                for rollout in group
            ]
            seconds = time.perf_counter() - began
            offline_seconds, offline_tokens = ray.get(offline.write.remote(requests))
            check_equal(rollouts, requests, offline_tokens, prompts, first)
            if round_ >= 0:
                tokens = sum(map(len, offline_tokens))
                ours.append(tokens / seconds)
                theirs.append(tokens / offline_seconds)
        ray.kill(offline)
        reuse = measure_reuse(cluster, header, model, rollouts)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"ours": ours, "alone": theirs, "ratios": ratios, "tokens": tokens, **reuse}


def check_equal(
    rollouts: Sequence[Rollout],
    requests: Sequence[Request],
    tokens: Sequence[list[int]],
    prompts: Sequence[Prompt],
    first: int,
) -> None:
    """Assert that both engines sampled the same tokens; `first` is the number of the first prompt in the requests' keys."""
    theirs = {(prompts[r.key[0] - first].id, r.key[1]): ids for r, ids in zip(requests, tokens, strict=True)}
    for rollout in rollouts:
        assert rollout.tokens[rollout.action_mask].tolist() == theirs[rollout.prompt.id, rollout.sample]


def measure_reuse(cluster: Cluster, header: Any, model: Path, rollouts: Sequence[Rollout]) -> dict[str, int]:
    """Return the number of clips asked for and encoded in a PPO step of two epochs over the rollouts."""
    from rl.workers.optimizer import OptimizerConfig

    policy, critic = cluster.policy, cluster.critic
    for group in (policy, critic):
        group.load(model, header.model, OptimizerConfig())
    batch = collate([Scored(rollout, Verdict(1.0)) for rollout in rollouts])
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
        result = {"encoder_ms": measure_encoder(model), **measure_rollouts(model, options.rounds, options.overrides)}
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    show(Console(), render_table(result))


def render_table(result: dict[str, Any]) -> Table:
    costs = result["encoder_ms"]
    table = Table("", "measured")
    for name, cost in costs.items():
        table.add_row(f"encoder, a clip of {name} s", f"{cost:.1f} ms")
    table.add_row("padded ÷ its own length, 0.5 s", f"{costs['0.5 padded to 30'] / costs['0.5']:.0f} ×")
    table.add_row("clips asked for ÷ encoded", f"{result['asked']} ÷ {result['encoded']}")
    table.add_row("features reused", f"{1 - result['encoded'] / result['asked']:.1%}")
    low, middle, high = np.percentile(result["ratios"], [0, 50, 100])
    table.add_row("rollout tokens/s ÷ vLLM offline", f"{middle:.2f} ({low:.2f} – {high:.2f})")
    table.add_row(
        "rollout tokens/s", f"{np.median(result['ours']):,.0f}, vLLM offline {np.median(result['alone']):,.0f}"
    )
    return table


if __name__ == "__main__":
    main()
