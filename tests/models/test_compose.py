"""Ears for language models of any family: what is put together, what stays as it was, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import ears
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import compose as composing
from models.audio import features
from models.compose import compose
from models.folder import read_config
from models.heads import LogprobModel, ValueModel
from models.hearing import clip_counter
from models.load import load_model, load_tokenizer, save_model
from models.settings import ComposeConfig, ModelConfig
from models.shape import read_shape
from rl.config import ConfigError
from rl.config import build as build_config
from rl.data.chat import Chat
from rl.types import AUDIO_PATCH, Clip, Message


def waves(*seconds: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, max(1, round(s * 16000))).astype(np.float32) for s in seconds]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    for family in ears.DECODERS:
        ears.decoder(folder / family, family)
    ears.whisper(folder / "whisper")
    ears.qwen2_audio(folder / "qwen2_audio")
    return folder


def together(parts: Path, out: Path, decoder: str = "llama", encoder: str = "whisper", seed: int = 0) -> Path:
    return compose(ComposeConfig(str(parts / decoder), str(parts / encoder)), out, "float32", seed)


@pytest.fixture(scope="module", params=[("llama", "whisper"), ("qwen2", "qwen2_audio"), ("qwen3", "whisper")])
def composed(
    parts: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, str, str]:
    decoder, encoder = request.param
    return together(parts, tmp_path_factory.mktemp("composed") / "model", decoder, encoder), decoder, encoder


def test_the_decoder_reads_text_as_before(composed: tuple[Path, str, str], parts: Path) -> None:
    """Its logits, over the tokens that it knew, and its chat template."""
    folder, decoder, _ = composed
    text, listener = LogprobModel(parts / decoder, "float32"), LogprobModel(folder, "float32")
    chats = [Chat(load_tokenizer(path), False) for path in (parts / decoder, folder)]
    prompts = [chat.prompt([Message("user", f"what is {AUDIO_PATCH}<audio_start>?")]) for chat in chats]
    assert prompts[0] == prompts[1], "letters that look like an audio token are letters"
    pack = torch.tensor(prompts[0]), torch.tensor([len(prompts[0])]), torch.arange(len(prompts[0])) > 3
    for model in (text, listener):
        model.lm.set_attn_implementation("sdpa")
    with torch.no_grad():
        states = [model.lm.get_decoder()(input_ids=pack[0][None]).last_hidden_state for model in (text, listener)]
        assert torch.equal(*states)
        known = len(load_tokenizer(parts / decoder))
        logits = [model.lm.get_output_embeddings()(states[0])[..., :known] for model in (text, listener)]
        assert torch.equal(*logits)


def test_the_vocabulary_grows_only_where_it_must(composed: tuple[Path, str, str], parts: Path) -> None:
    folder, decoder, _ = composed
    before, after = (read_config(path) for path in (parts / decoder, folder))
    vocabulary = load_tokenizer(folder).get_vocab()
    known = len(load_tokenizer(parts / decoder))
    assert [vocabulary[token] for token in composing.AUDIO_TOKENS] == [known, known + 1, known + 2]
    assert after["audio_token_id"] == known + 1
    rows = 320 if decoder == "qwen2" else 261  # that one has spare rows
    assert after["text_config"]["vocab_size"] == rows  # type: ignore[index]
    tied = ears.DECODERS[decoder]["tie_word_embeddings"]
    weights = load_file(folder / "model.safetensors")
    assert ("language_model.lm_head.weight" in weights) == (not tied)
    matrices = {"language_model.model.embed_tokens.weight", "language_model.lm_head.weight"} & weights.keys()
    for name in matrices:
        assert len(weights[name]) == rows
        torch.testing.assert_close(weights[name][known : known + 3], weights[name][:known].mean(0).expand(3, -1))
    model = load_model(folder)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    assert (head.weight is embedding.weight) == tied  # type: ignore[union-attr]
    assert before["eos_token_id"] == model.generation_config.eos_token_id  # type: ignore[union-attr]
    text = (folder / "config.json").read_text()
    assert str(parts) not in text, "no path of the machine that composed it"


def test_the_ear_is_transformers_own(composed: tuple[Path, str, str], parts: Path) -> None:
    """On 30 s: its front-end makes as many frames of a padded clip as ours of 30 s."""
    from transformers import AutoModel, Qwen2AudioForConditionalGeneration, WhisperFeatureExtractor

    folder, _, encoder = composed
    if encoder == "whisper":
        theirs = AutoModel.from_pretrained(parts / encoder).encoder
    else:
        theirs = Qwen2AudioForConditionalGeneration.from_pretrained(parts / encoder).model.audio_tower
    model: Any = load_model(folder)
    short, long = waves(3.3, 30.0)
    padded = np.pad(short, (0, len(long) - len(short)))
    extractor = WhisperFeatureExtractor(feature_size=16)
    for wave in (padded, long):
        mels = extractor(wave, sampling_rate=16000, return_tensors="pt").input_features
        ours = features.mels(wave, model.config.audio_encoder_config)
        assert [len(mel) for mel in ours] == [3000]
        assert (ours[0] - mels[0].T).abs().max() <= 1e-4
        with torch.no_grad():
            expected = theirs(mels).last_hidden_state[0]
            (from_their_mels,) = model.encoder([mels[0].T])
            assert (from_their_mels - expected).abs().max() <= 1e-5
            assert (model.encode([wave])[0] - expected).abs().max() <= 1e-4, "from the wave, with our own front-end"


def test_a_clip_sounds_the_same_in_any_company(composed: tuple[Path, str, str]) -> None:
    folder, _, _ = composed
    model: Any = load_model(folder)
    clips = waves(0, 0.001, 0.01, 0.02, 0.2, 0.21, 0.25, 0.5, 0.55, 1, 1.3, 3, 29.99, 30, 30.01, 64)
    with torch.no_grad():
        together = model.encode(clips)
        embeddings = model.adapt(together)
        for clip, encoded, adapted in zip(clips, together, embeddings, strict=True):
            (alone,) = model.encode([clip])
            assert (alone - encoded).abs().max() <= 1e-5
            assert (model.adapt([alone])[0] - adapted).abs().max() <= 1e-5
            assert len(adapted) == features.tokens(len(clip), model.config.audio_encoder_config)
    assert [len(embeddings[i]) for i in (0, 9, 13)] == [1, 13, 375], "12.5 Hz, and at least one"


def test_sound_starts_as_loud_as_words(composed: tuple[Path, str, str]) -> None:
    model: Any = load_model(composed[0])
    with torch.no_grad():
        sounds = torch.cat(model.adapt(model.encode(waves(1, 2, 3))))
        words = model.get_input_embeddings().weight
        assert 0.2 < sounds.square().mean().sqrt() / words.square().mean().sqrt() < 5


def test_it_is_seeded_whole_and_made_once(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again, other = (together(parts, tmp_path / n, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    weights = [load_file(folder / "model.safetensors") for folder in (first, again, other)]
    differing = [n for n in weights[0] if not torch.equal(weights[0][n], weights[2][n])]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert differing
    assert all(name.startswith("adapter.") for name in differing)
    before = (first / "model.safetensors").stat().st_mtime_ns
    assert together(parts, first, seed=1) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == before


def test_any_file_of_whispers_is_read(parts: Path, tmp_path: Path) -> None:
    """Without the head, in several files, in float16."""
    ears.whisper(tmp_path / "bare", bare=True)
    expected = load_file(together(parts, tmp_path / "a") / "model.safetensors")
    shutil.copytree(parts / "whisper", tmp_path / "cut")
    file = tmp_path / "cut" / "model.safetensors"
    tensors = load_file(file)
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, held in shards.items():
        save_file({name: tensors[name].half() for name in held}, file.with_name(shard), {"format": "pt"})
    index = {"weight_map": {name: shard for shard, held in shards.items() for name in held}}
    (tmp_path / "cut" / "model.safetensors.index.json").write_text(json.dumps(index))
    file.unlink()
    for name, tolerance in (("bare", 0.0), ("cut", 2e-3)):
        config = ComposeConfig(str(parts / "llama"), str(tmp_path / name))
        weights = load_file(compose(config, tmp_path / f"{name}-composed", "float32", 0) / "model.safetensors")
        assert weights.keys() == expected.keys()
        for key in [key for key in expected if key.startswith("encoder.")]:
            torch.testing.assert_close(weights[key], expected[key], atol=tolerance, rtol=tolerance)


def test_it_is_saved_and_read_back(composed: tuple[Path, str, str], tmp_path: Path) -> None:
    folder, _, _ = composed
    model = LogprobModel(folder, "float32")
    state = {n.removeprefix("lm."): w for n, w in [*model.named_parameters(), *model.frozen_parameters()]}
    save_model(model.lm, tmp_path, {name: weight.detach().clone() for name, weight in state.items()})
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_shape_is_known_before_it_is_there(composed: tuple[Path, str, str], parts: Path) -> None:
    folder, decoder, encoder = composed
    config = ModelConfig(compose=ComposeConfig(str(parts / decoder), str(parts / encoder)))
    planned, real = read_shape(config), read_shape(ModelConfig(path=str(folder)))
    assert planned
    assert real
    ears_parameters = sum(p.numel() for p in load_model(folder).encoder.parameters())  # type: ignore[operator]
    assert planned.frozen == real.frozen == ears_parameters
    assert abs(planned.parameters - real.parameters) <= 2 * 3 * 64, "but for the rows of the audio tokens"
    assert clip_counter(folder)


def test_the_critic_and_the_adapter_alone_learn(composed: tuple[Path, str, str]) -> None:
    folder, _, _ = composed
    policy, critic = LogprobModel(folder, "float32"), ValueModel(folder, "float32")
    assert policy.hearing
    (heard,) = policy.encode(waves(0.4))
    pack = torch.tensor([1, *[policy.hearing.patch_id] * 5, 2, 3]), torch.tensor([8]), torch.arange(8) > 5
    assert critic(*pack, [heard]).tolist() == [0.0, 0.0]
    full = torch.autograd.grad(policy(*pack, 1.0, [heard])[0].sum(), [*policy.hearing.adapter.parameters()])
    policy.train_adapter_only()
    policy(*pack, 1.0, [heard])[0].sum().backward()
    trained = {name for name, parameter in policy.named_parameters() if parameter.grad is not None}
    assert trained == {
        f"lm.adapter.{part}.{kind}" for part in ("conv", "linear1", "linear2") for kind in ("weight", "bias")
    }
    for gradient, parameter in zip(full, policy.hearing.adapter.parameters(), strict=True):
        assert torch.equal(gradient, parameter.grad)  # type: ignore[arg-type]


def test_a_model_of_text_has_no_adapter(parts: Path) -> None:
    with pytest.raises(ValueError, match=r"^sft.train: adapter, and the model reads text only"):
        LogprobModel(parts / "llama", "float32").train_adapter_only()


def broken(parts: Path, tmp_path: Path, file: str, **values: object) -> Path:
    """A copy of the encoder with other values in a JSON file of its."""
    folder = tmp_path / "broken"
    shutil.copytree(parts / "whisper", folder)
    (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **values}))
    return folder


@pytest.mark.parametrize(
    ("file", "values", "line"),
    [
        (
            "config.json",
            {"model_type": "wav2vec2"},
            "config.json: model_type 'wav2vec2' has no encoder that is known here",
        ),
        ("config.json", {"model_type": None}, "config.json: model_type '' has no encoder that is known here"),
        ("config.json", {"activation_function": "relu"}, "config.json: activation_function 'relu' of the encoder"),
        ("config.json", {"d_model": "wide"}, "config.json: d_model is 'wide', not a whole number from 1; correct it"),
        ("preprocessor_config.json", {"feature_size": 80}, "preprocessor_config.json: feature_size is 80, and 16 is"),
        ("preprocessor_config.json", {"hop_length": 320}, "preprocessor_config.json: hop_length is 320, and 160 is"),
        ("preprocessor_config.json", {"sampling_rate": 8000}, "preprocessor_config.json: sampling_rate is 8000, and"),
    ],
)
def test_an_encoder_that_is_not_computed_is_one_line(
    parts: Path, tmp_path: Path, file: str, values: dict[str, object], line: str
) -> None:
    folder = broken(parts, tmp_path, file, **values)
    for call in (
        lambda: read_shape(ModelConfig(compose=ComposeConfig(str(parts / "llama"), str(folder)))),
        lambda: compose(ComposeConfig(str(parts / "llama"), str(folder)), tmp_path / "out", "float32", 0),
    ):
        with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole line is compared
            call()
        assert str(error.value).startswith(f"model.compose.encoder: {folder}/{line}")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_there_are_one_line(parts: Path, tmp_path: Path) -> None:
    folder = broken(parts, tmp_path, "config.json", encoder_layers=3)
    with pytest.raises(ValueError, match=r"its encoder's weight 'layers\.2\.\S+' is missing; fetch the model again$"):
        compose(ComposeConfig(str(parts / "llama"), str(folder)), tmp_path / "out", "float32", 0)
    shutil.rmtree(folder)
    folder = broken(parts, tmp_path, "config.json", encoder_ffn_dim=64)
    with pytest.raises(ValueError, match=r"'layers\.0\.fc1\.weight' has shape \[48, 32\], not \[64, 32\]"):
        compose(ComposeConfig(str(parts / "llama"), str(folder)), tmp_path / "out", "float32", 0)
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("decoder", ["whisper", "qwen2_audio"])
def test_a_decoder_that_is_no_model_of_text_is_one_line(parts: Path, tmp_path: Path, decoder: str) -> None:
    config = ComposeConfig(str(parts / decoder), str(parts / "whisper"))
    with pytest.raises(ValueError, match=r"^model\.compose\.decoder: \S+/config\.json has \w+: it is no causal"):
        read_shape(ModelConfig(compose=config))
    with pytest.raises(ValueError, match=r"^model\.compose\.decoder: "):
        compose(config, tmp_path / "out", "float32", 0)


def test_an_empty_name_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^model\.compose\.encoder: is empty; name a folder or a model of the hub$"):
        build_config(ModelConfig, {"compose": {"decoder": "x", "encoder": " "}}, "model")


def test_the_sampled_sound_is_the_trainers(composed: tuple[Path, str, str]) -> None:
    """A prompt expands to as many tokens as the model hears, and its own `generate` writes to it."""
    import io

    import soundfile

    folder, _, _ = composed
    (wave,), file = waves(0.8), io.BytesIO()
    soundfile.write(file, wave, 16000, format="WAV", subtype="FLOAT")
    clip = Clip(data=file.getvalue())
    chat = Chat(load_tokenizer(folder), False, count_audio_tokens=clip_counter(folder))
    prompt = chat.prompt([Message("user", f"{AUDIO_PATCH}?")], [clip], expand=True)
    assert prompt.count(read_config(folder)["audio_token_id"]) == 10  # type: ignore[arg-type]
    model: Any = load_model(folder)
    model.set_attn_implementation("sdpa")
    sounds = [model.encode([wave])[0].detach()]
    written = [
        model.generate(input_ids=torch.tensor([prompt]), sounds=s, max_new_tokens=6, do_sample=False, use_cache=c)
        for c in (True, False)
        for s in (sounds, [torch.from_numpy(wave)])
    ]
    assert all(torch.equal(written[0], other) for other in written)
