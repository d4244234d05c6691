"""Policy and critic that hear: packs of prompts with and without sound, what trains and what does not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.heads import CRITIC_FILE, LogprobModel, ValueModel, surprises_before
from models.hearing import clip_counter, get_hearing
from models.load import build, load_model
from models.settings import AudioConfig, BuildConfig
from models.tokenizer import VOCABULARY
from rl.types import AUDIO_PATCH, Clip

PATCH = VOCABULARY[AUDIO_PATCH]


@dataclass
class Pack:
    """Three sequences: two clips, none (though its writer wrote an audio token), one clip."""

    lengths_N: Tensor
    tokens_T: Tensor
    action_mask_T: Tensor
    waves: list[np.ndarray]

    @property
    def columns(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.tokens_T, self.lengths_N, self.action_mask_T


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = BuildConfig(hidden_size=64, layers=2, heads=2, audio=AudioConfig(mel_bins=16, hidden_size=32, layers=1))
    return build(config, tmp_path_factory.mktemp("m") / "m", seed=0)


@pytest.fixture(scope="module")
def policy(folder: Path) -> LogprobModel:
    return LogprobModel(folder, "float32")


@pytest.fixture(scope="module")
def pack(policy: LogprobModel) -> Pack:
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.1, n).astype(np.float32) for n in (3000, 8000, 16000)]
    assert policy.hearing
    first, second, third = ([PATCH] * policy.hearing.tokens(len(wave)) for wave in waves)
    prompts = [[1, *first, 2, 3, *second, 4], [5, 6], [*third, 7]]
    answers = [[8, 9], [10, PATCH, 11], [12, 13, 14]]
    tokens = [i for prompt, answer in zip(prompts, answers, strict=True) for i in (*prompt, *answer)]
    written = [w for p, a in zip(prompts, answers, strict=True) for w in (*[False] * len(p), *[True] * len(a))]
    lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
    return Pack(torch.tensor(lengths), torch.tensor(tokens), torch.tensor(written), waves)


def test_each_sequence_hears_its_own_clips(policy: LogprobModel, pack: Pack) -> None:
    sounds = policy.encode(pack.waves)
    with torch.no_grad():
        together = policy(*pack.columns, 1.0, sounds)[0].split([2, 3, 3])
        for i, mine in enumerate((sounds[:2], [], sounds[2:])):
            rows = torch.arange(len(pack.tokens_T)).split(pack.lengths_N.tolist())[i]
            alone, _ = policy(pack.tokens_T[rows], pack.lengths_N[i : i + 1], pack.action_mask_T[rows], 1.0, mine)
            assert (alone - together[i]).abs().max() <= 1e-5
        swapped = policy(*pack.columns, 1.0, [sounds[0], sounds[1] * 2, sounds[2]])[0].split([2, 3, 3])
    assert (swapped[0] - together[0]).abs().max() > 1e-4
    assert all((swapped[i] - together[i]).abs().max() <= 1e-6 for i in (1, 2))


def test_the_pack_is_what_transformers_makes_of_each_sequence(policy: LogprobModel, pack: Pack, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(folder)
    sounds = policy.encode(pack.waves)
    with torch.no_grad():
        (logprobs_A, _) = policy(*pack.columns, 1.0, sounds)
        expected = []
        for i, mine in ((0, sounds[:2]), (2, sounds[2:])):
            ids = pack.tokens_T.split(pack.lengths_N.tolist())[i]
            written = pack.action_mask_T.split(pack.lengths_N.tolist())[i]
            table = plain(input_ids=ids[None], sounds=mine).logits[0].log_softmax(-1)[:-1]
            expected.append(table.gather(1, ids[1:, None])[:, 0][written[1:]])
    assert (logprobs_A.split([2, 3, 3])[0] - expected[0]).abs().max() <= 1e-5
    assert (logprobs_A.split([2, 3, 3])[2] - expected[1]).abs().max() <= 1e-5


def test_the_encoder_is_frozen_unless_asked(folder: Path, pack: Pack) -> None:
    """Raw waves train it; the adapter trains either way."""
    for train in (False, True):
        model = LogprobModel(folder, "float32", gradient_checkpointing=True, train_encoder=train)
        sounds = [torch.from_numpy(wave) for wave in pack.waves] if train else model.encode(pack.waves)
        model(*pack.columns, 1.0, sounds)[0].sum().backward()
        assert model.hearing
        encoder = list(model.hearing.encoder.parameters())
        assert all(p.requires_grad == train for p in encoder)
        assert all((p.grad is not None and p.grad.abs().sum() > 0) == train for p in encoder)
        names = {name for name, _ in model.named_parameters()}
        frozen = {name for name, _ in model.frozen_parameters()}
        assert any(name.startswith("lm.encoder.") for name in names) == train, "what is frozen is not the engine's"
        assert (len(frozen) == len(encoder)) != train
        assert names | frozen == {f"lm.{name}" for name, _ in load_model(folder).named_parameters()}
        assert all(p.grad.abs().sum() > 0 for p in model.lm.adapter.parameters())


@pytest.mark.parametrize("train", [False, True])
def test_a_pack_without_clips_touches_the_adapter_harmlessly(folder: Path, train: bool) -> None:
    model = LogprobModel(folder, "float32", train_encoder=train)
    columns = torch.arange(6), torch.tensor([6]), torch.arange(6) > 2
    logprobs_A, _ = model(*columns)
    logprobs_A.sum().backward()
    audio_parameters = [*model.lm.adapter.parameters(), *(model.lm.encoder.parameters() if train else ())]
    assert all(p.grad is not None and not p.grad.any() for p in audio_parameters)
    model.hearing = None
    assert torch.equal(model(*columns)[0], logprobs_A)


def test_sounds_that_do_not_fit_are_noticed(policy: LogprobModel, pack: Pack) -> None:
    with pytest.raises(ValueError, match=r"^23 audio tokens in the pack for 16 tokens of audio$"):
        policy(*pack.columns, 1.0, policy.encode([pack.waves[0], pack.waves[2]]))


def test_a_critic_hears_with_an_adapter_of_its_own(
    policy: LogprobModel, pack: Pack, folder: Path, tmp_path: Path
) -> None:
    sounds = policy.encode(pack.waves)
    critic = ValueModel(folder, "float32")
    assert critic(*pack.columns, sounds).tolist() == [0.0] * 8
    names = [name for name, _ in critic.named_parameters()]
    assert not any(name.startswith("encoder") or ".encoder" in name for name in names)
    assert any(name.startswith("adapter") for name in names)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    critic.save_config(tmp_path)
    save_file(critic.state_dict(), tmp_path / CRITIC_FILE)
    values_A = critic(*pack.columns, sounds)
    assert torch.equal(ValueModel(tmp_path, "float32")(*pack.columns, sounds), values_A)
    values_A.sum().backward()
    assert all(p.grad is not None for p in critic.adapter.parameters())


def test_clips_are_counted_from_the_config_alone(folder: Path, tied: Path, tmp_path: Path) -> None:
    import soundfile

    file = tmp_path / "a.flac"
    soundfile.write(file, np.zeros(22050), 44100)
    count = clip_counter(folder)
    assert count
    assert count(Clip(str(file))) == 7
    assert clip_counter(tied) is None
    assert get_hearing(LogprobModel(tied, "float32").lm) is None
    file.write_bytes(b"no sound")
    with pytest.raises(ValueError, match=rf"^{file}: no audio that can be read"):
        count(Clip(str(file)))


def test_surprises_are_those_of_the_actions_before() -> None:
    logprobs_A = torch.tensor([-1.0, -3.0, -2.0, -0.5, -4.0])
    log1p = [math.log(1 + total) for total in (0.0, 1.0, 4.0)]
    expected = [[0, 0, log1p[0]], [1, 1, log1p[1]], [3, 3, log1p[2]], [0, 0, 0], [0.5, 0.5, math.log(1.5)]]
    torch.testing.assert_close(surprises_before(logprobs_A, [3, 2]), torch.tensor(expected))


def test_a_critic_reads_how_probable_the_actions_before_were(tied: Path) -> None:
    critic = ValueModel(tied, "float32")
    torch.nn.init.normal_(critic.head.weight, generator=torch.Generator().manual_seed(0))
    pack = torch.arange(9), torch.tensor([4, 5]), torch.tensor([0, 1, 1, 1, 0, 0, 0, 1, 1]).bool()
    logprobs_A = torch.tensor([-0.1, -0.2, -0.3, -0.4, -0.5])
    values_A, certain_A = critic(*pack, logprobs_A=logprobs_A), critic(*pack)
    surprised = critic(*pack, logprobs_A=logprobs_A - torch.tensor([0.0, 5.0, 0.0, 0.0, 0.0]))
    assert (values_A != certain_A).tolist() == [False, True, True, False, True], "nothing comes before the first ones"
    assert (surprised != values_A).tolist() == [False, False, True, False, False], "later actions of its sequence alone"
