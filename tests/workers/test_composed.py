"""A composed model under DeepSpeed: the same step at any ZeRO stage, on one rank and two, whole or of the adapter alone."""

from __future__ import annotations

from pathlib import Path

import ears
import pytest
import torch
from safetensors.torch import load_file
from test_audio_features import PROMPTS
from worlds import Seat

from models.compose import compose
from models.heads import LogprobModel
from models.hearing import clip_counter
from models.load import load_tokenizer
from models.settings import ComposeConfig, ModelConfig
from rl.algorithms.objective import Objective
from rl.audio import waveform
from rl.data.chat import Chat
from rl.data.collate import collate_demonstrations
from rl.workers.group import PolicyGroup
from rl.workers.optimizer import OptimizerConfig
from rl.workers.trainer_config import TrainerConfig

SHARDS = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}  # really, small as it all is
STAGES = {0: {}, 1: {}, 2: {}, 3: SHARDS}


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = tmp_path_factory.mktemp("parts")
    config = ComposeConfig(str(ears.decoder(parts / "qwen3", "qwen3")), str(ears.whisper(parts / "whisper")))
    return compose(config, parts / "composed", "float32", 0)


@pytest.mark.parametrize("adapter_only", [False, True])
def test_every_stage_and_rank_takes_the_same_step(worlds, composed: Path, tmp_path: Path, adapter_only: bool) -> None:
    """That of plain autograd; then the model is exported, and only what trains has changed."""
    chat = Chat(load_tokenizer(composed), False, count_audio_tokens=clip_counter(composed))
    batch = collate_demonstrations(PROMPTS, chat, 200)
    plain = LogprobModel(composed, "float32")
    if adapter_only:
        plain.train_adapter_only()
    sounds = plain.encode([waveform(clip) for prompt in PROMPTS for clip in prompt.clips])
    logprobs_A, _ = plain(batch.tokens_T, batch.lengths_N, batch.action_mask_T, 1.0, sounds)
    (-logprobs_A.mean()).backward()
    gradients = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    norm = float(torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt())
    rows, objective = [range(len(batch))], Objective(policy_loss="nll")
    updated: list[torch.Tensor] = []
    for ranks, sharing in ((1, 1), (2, 1), (2, 2)):
        for stage, options in STAGES.items():
            if sharing > 1 and stage in (1, 2):
                continue
            seats = [Seat(actor, "policy") for actor in worlds(ranks).actors]
            settings = TrainerConfig(
                ranks=ranks,
                zero_stage=stage,
                tokens_per_microbatch=64 // sharing,
                sequence_parallel=sharing,
                deepspeed=dict(options),
            )
            policy = PolicyGroup(seats, settings)
            policy.load(
                composed,
                ModelConfig(path=str(composed)),
                OptimizerConfig(learning_rate=1e-3),
                adapter_only=adapter_only,
            )
            report = policy.update(batch, rows, [1e-3], objective, 200).get()
            assert report["loss"] == pytest.approx(float(-logprobs_A.mean().detach()), abs=1e-5)
            assert report["grad_norm"] == pytest.approx(norm, rel=1e-4)
            updated.append(policy.logprobs(batch).get())
    for other in updated[1:]:
        torch.testing.assert_close(other, updated[0], atol=2e-4, rtol=0)
    policy.export(tmp_path / "exported")
    before, after = (dict(LogprobModel(f, "float32").named_parameters()) for f in (composed, tmp_path / "exported"))
    assert {name for name in before if not torch.equal(before[name], after[name])} == gradients.keys()
    assert all(name.startswith("lm.adapter.") for name in gradients) == adapter_only


def test_the_ear_trains_too_where_it_is_asked_to(worlds, composed: Path, tmp_path: Path) -> None:
    """The step is that of plain autograd through encoder, adapter and decoder."""
    chat = Chat(load_tokenizer(composed), False, count_audio_tokens=clip_counter(composed))
    batch = collate_demonstrations(PROMPTS, chat, 200)
    plain = LogprobModel(composed, "float32", train_encoder=True)
    # Waves, not features: these are the same only as long as the encoder is frozen.
    sounds = [torch.tensor(waveform(clip)) for prompt in PROMPTS for clip in prompt.clips]
    logprobs_A, _ = plain(batch.tokens_T, batch.lengths_N, batch.action_mask_T, 1.0, sounds)
    (-logprobs_A.mean()).backward()
    gradients = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    norm = float(torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt())
    policy = PolicyGroup([Seat(worlds(1).actors[0], "policy")], TrainerConfig(ranks=1, tokens_per_microbatch=64))
    policy.load(composed, ModelConfig(path=str(composed), train_encoder=True), OptimizerConfig(learning_rate=1e-3))
    report = policy.update(batch, [range(len(batch))], [1e-3], Objective(policy_loss="nll"), 200).get()
    assert report["loss"] == pytest.approx(float(-logprobs_A.mean().detach()), abs=1e-5)
    assert report["grad_norm"] == pytest.approx(norm, rel=1e-4)
    policy.export(tmp_path / "exported")
    before, after = (load_file(folder / "model.safetensors") for folder in (composed, tmp_path / "exported"))
    parts = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert parts == {"encoder", "adapter", "language_model"}
