"""Folders laid out as StepFun released them: nested and flat configs, public names, tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.heads import LogprobModel
from models.hearing import clip_counter
from models.load import load_model, load_tokenizer
from models.tokenizer import byte_tokenizer
from rl.data.chat import Chat
from rl.types import Clip, Message

AUDIO = {"n_mels": 16, "n_audio_ctx": 1500, "n_audio_state": 32, "n_audio_head": 2, "n_audio_layer": 2, "llm_dim": 64}
DECODER = {
    "vocab_size": 265,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_attention_groups": 1,
    "num_key_value_heads": 1,
    "max_position_embeddings": 16384,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "eos_token_id": 258,
}
ENDS = {"kernel_size": 3, "adapter_stride": 2}
TOP = {
    "architectures": ["StepAudio2ForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_step_audio_2.StepAudio2Config"},
    "audio_token_id": 260,
    "torch_dtype": "bfloat16",
}
NESTED = {
    **TOP,
    "model_type": "step_audio_2",
    "audio_encoder_config": {**AUDIO, **ENDS, "model_type": "step_audio_2_encoder"},
    "text_config": {**DECODER, "model_type": "step_audio_2_text"},
}
FLAT = {**TOP, **DECODER, "model_type": "step_audio_qwen2", "audio_encoder_config": {**AUDIO, **ENDS}}


def public_weights() -> dict[str, Tensor]:
    """Shapes by the published code, not by ours; adapter 2,048 wide as there."""
    torch.manual_seed(0)
    d, mels, h, ffn, kv = 32, 16, 64, 192, 32
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (d, mels, 3),
        "encoder.conv1.bias": (d,),
        "encoder.conv2.weight": (d, d, 3),
        "encoder.conv2.bias": (d,),
        "encoder.positional_embedding.weight": (1500, d),
        "encoder.after_norm.weight": (d,),
        "encoder.after_norm.bias": (d,),
        "adapter.conv.weight": (d, d, 3),
        "adapter.conv.bias": (d,),
        "adapter.linear1.weight": (2048, d),
        "adapter.linear1.bias": (2048,),
        "adapter.linear2.weight": (h, 2048),
        "adapter.linear2.bias": (h,),
        "model.embed_tokens.weight": (265, h),
        "model.norm.weight": (h,),
        "lm_head.weight": (265, h),
    }
    for i in range(2):
        block, layer = f"encoder.blocks.{i}", f"model.layers.{i}"
        for part in ("query", "key", "value", "out"):
            shapes[f"{block}.attn.{part}.weight"] = (d, d)
            if part != "key":
                shapes[f"{block}.attn.{part}.bias"] = (d,)
        for norm in ("attn_ln", "mlp_ln"):
            shapes |= {f"{block}.{norm}.weight": (d,), f"{block}.{norm}.bias": (d,)}
        shapes |= {f"{block}.mlp.0.weight": (4 * d, d), f"{block}.mlp.0.bias": (4 * d,)}
        shapes |= {f"{block}.mlp.2.weight": (d, 4 * d), f"{block}.mlp.2.bias": (d,)}
        for part, width in (("q", h), ("k", kv), ("v", kv)):
            shapes |= {
                f"{layer}.self_attn.{part}_proj.weight": (width, h),
                f"{layer}.self_attn.{part}_proj.bias": (width,),
            }
        shapes |= {f"{layer}.self_attn.o_proj.weight": (h, h), f"{layer}.mlp.down_proj.weight": (h, ffn)}
        shapes |= {f"{layer}.mlp.{part}_proj.weight": (ffn, h) for part in ("gate", "up")}
        shapes |= {f"{layer}.{norm}_layernorm.weight": (h,) for norm in ("input", "post_attention")}
    return {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}


@pytest.fixture(params=[NESTED, FLAT], ids=["nested", "flat"])
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "released"
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(request.param))
    save_file(public_weights(), folder / "model.safetensors", {"format": "pt"})
    return folder


def test_released_weights_are_all_used_and_exported_under_their_names(released: Path, tmp_path: Path) -> None:
    model: Any = load_model(released)
    assert model.config.text_config.num_key_value_heads == 1
    assert model.config.text_config.rope_parameters["rope_theta"] == 1e6
    public = public_weights()
    ours = dict(model.named_parameters())
    assert ours.keys() == public.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in public.items())
    model.save_pretrained(tmp_path / "exported")
    exported = load_file(tmp_path / "exported" / "model.safetensors")
    assert exported.keys() == public.keys()
    assert json.loads((tmp_path / "exported" / "config.json").read_text())["model_type"] == model.config.model_type

    pack = (torch.tensor([1, *[260] * 7, 2, 3]), torch.tensor([10]), torch.arange(10) > 7)
    first, again = LogprobModel(released, "float32"), LogprobModel(tmp_path / "exported", "float32")
    with torch.no_grad():
        heard = [m.encode([torch.linspace(-1, 1, 8000).numpy()]) for m in (first, again)]
        assert torch.equal(first(*pack, 1.0, heard[0])[0], again(*pack, 1.0, heard[1])[0])


def test_the_chat_is_as_published(released: Path) -> None:
    tokenizer = load_tokenizer(released)
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) == (
        "<|BOT|>system\ns<|EOT|><|BOT|>human\nu<|EOT|><|BOT|>assistant\n<think>\n"
    )
    chat = Chat(tokenizer, count_audio_tokens=clip_counter(released))
    assert chat.end == tokenizer.get_vocab()["<|EOT|>"]
    text = tokenizer.decode(chat.prompt([Message("user", "<audio_patch>?")], [Clip("x")]))
    assert text == "<|BOT|>human\n<audio_start><audio_patch><audio_end>?<|EOT|><|BOT|>assistant\n<think>\n"


def change(act: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        act(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return apply


NAMES = "encoder.blocks.1.attn.query.bias", "adapter.conv.weight"


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (change(lambda w: [w.pop(name) for name in NAMES]), rf"missing: {NAMES[1]}, {NAMES[0]}$"),
        (
            change(lambda w: w.update({"decoder.a": torch.ones(1), "vision.b": torch.ones(1)})),
            r"unexpected: decoder.a, vision.b$",
        ),
        (
            change(lambda w: w.update({"adapter.conv.weights": w.pop("adapter.conv.weight")})),
            r"missing: adapter.conv.weight; unexpected: adapter.conv.weights$",
        ),
        (change(lambda w: w.update({"lm_head.weight": torch.ones(3, 64)})), r"of another shape: lm_head.weight$"),
    ],
)
def test_weights_that_do_not_fit_are_all_listed(released: Path, damage: Callable[[Path], None], line: str) -> None:
    damage(released)
    with pytest.raises(ValueError, match=rf"^model {released}: its weights are not those of its config.json; {line}"):
        load_model(released)


def test_a_tokenizer_of_another_model_is_one_line(released: Path, untied: Path) -> None:
    config = json.loads((released / "config.json").read_text())
    (released / "config.json").write_text(json.dumps({**config, "audio_token_id": 151690}))
    with pytest.raises(ValueError, match=r"<audio_patch> is token 260 and the config's audio_token_id is 151690; corr"):
        load_tokenizer(released)
    file = released / "tokenizer.json"
    layout = json.loads(file.read_text())
    renamed = json.loads(json.dumps(layout).replace("<audio_end>", "<sound_end>"))
    file.write_text(json.dumps(renamed))
    with pytest.raises(ValueError, match=r"its tokenizer lacks <audio_end>; use the one released with the model"):
        load_tokenizer(released)
    shutil.copy(untied / "config.json", released / "config.json")
    with pytest.raises(ValueError, match="no chat template"):
        load_tokenizer(released)
