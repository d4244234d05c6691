"""Composes a language model that listens: its decoder, another model's audio encoder, and a new adapter between them.

The result is a Hugging Face folder of our class `models.audio.modeling.GroundtoneAudioForCausalLM`.

Suffixes: S samples, P encoder frames, D encoder width, K tokens, H decoder width, V vocabulary.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from torch import Tensor, nn

from models.audio import released
from models.audio.encoders import PREFIXES, encoder_config
from models.folder import check_whole, on_disk, read_config
from models.load import check_finite, load_model, load_tokenizer
from models.tokenizer import AUDIO_END, AUDIO_START
from rl.audio import SAMPLE_RATE
from rl.types import AUDIO_PATCH

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from models.audio.modeling import Adapter, Encoder
    from models.settings import ComposeConfig, Dtype

AUDIO_TOKENS = (AUDIO_START, AUDIO_PATCH, AUDIO_END)


def compose(config: ComposeConfig, folder: Path, dtype: Dtype, seed: int) -> Path:
    """Write the composed model to `folder`, unless one is there, and return the folder. It appears whole or not at all.
    Raises ValueError, in one line, for a decoder or an encoder that cannot be used."""
    if (folder / "config.json").exists():
        return folder
    decoder_folder = on_disk(config.decoder, "model.compose.decoder")
    encoder_folder = on_disk(config.encoder, "model.compose.encoder")
    config.shape()  # refuses what cannot be composed, before anything is loaded
    tokenizer, decoder = load_tokenizer(decoder_folder), load_model(decoder_folder, dtype)
    add_audio_tokens(tokenizer, decoder)
    model = join(decoder, encoder_folder, tokenizer.get_vocab()[AUDIO_PATCH], seed)
    partial = folder.with_name(f".{folder.name}.tmp")
    try:
        tokenizer.save_pretrained(partial)
        model.save_pretrained(partial)
        return partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def add_audio_tokens(tokenizer: PreTrainedTokenizerFast, decoder: PreTrainedModel) -> None:
    """Add the tokens that stand for a clip to a tokenizer that lacks them, as control tokens, and rows for them to the
    decoder's embedding and head, where it has no spare ones."""
    from transformers import AddedToken

    vocabulary = tokenizer.get_vocab()
    absent = [token for token in AUDIO_TOKENS if token not in vocabulary]
    # Rows behind the tokenizer's are padding that no text has trained, and so no part of the mean below.
    known_rows = len(tokenizer)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in absent], special_tokens=True)
    ids = cast("list[int]", tokenizer.convert_tokens_to_ids(absent))
    embedding = cast("nn.Embedding", decoder.get_input_embeddings())
    if max(ids, default=0) >= embedding.num_embeddings:
        # Without the means that transformers would compute for the new rows: they are set below.
        decoder.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    # Their rows are the mean of all others, so that the decoder neither expects these tokens nor writes them by itself.
    head = cast("nn.Linear", decoder.get_output_embeddings())
    embedding = cast("nn.Embedding", decoder.get_input_embeddings())  # resizing may have made a new one
    with torch.no_grad():
        for weight_VH in (embedding.weight, head.weight):
            weight_VH[ids] = weight_VH[:known_rows].float().mean(0).to(weight_VH.dtype)


def join(decoder: PreTrainedModel, encoder_folder: Path, audio_token_id: int, seed: int) -> PreTrainedModel:
    """Return the composed model of a decoder, the encoder in a folder and a new adapter drawn from `seed`."""
    from models import audio
    from models.audio.config import GroundtoneAudioConfig
    from models.audio.modeling import GroundtoneAudioForCausalLM

    audio.register()
    text: Any = decoder.config  # its fields are those of its family
    text.name_or_path = ""  # a path on this machine means nothing elsewhere
    text.architectures = [type(decoder).__name__]  # by which vLLM finds its own class of the decoder
    config = GroundtoneAudioConfig(
        audio_encoder_config=encoder_config(encoder_folder, text.hidden_size),
        text_config=text,
        audio_token_id=audio_token_id,
        dtype=decoder.dtype,
    )
    with torch.device("meta"):  # the parts are put in its place: none is allocated twice
        model = GroundtoneAudioForCausalLM(config)
    model.language_model, model.generation_config = decoder, decoder.generation_config
    encoder = load_encoder(encoder_folder, config)
    adapter = new_adapter(config, encoder, _loudness_of_words(decoder), seed)
    model.encoder, model.adapter = encoder.to(decoder.dtype), adapter.to(decoder.dtype)
    return model


@torch.no_grad()
def _loudness_of_words(decoder: PreTrainedModel) -> float:
    """Return the root mean square of the decoder's embeddings, over some of its tokens."""
    embedding = cast("nn.Embedding", decoder.get_input_embeddings())
    rows = embedding.num_embeddings
    # Called as a module, since some families (Gemma) scale the rows of the matrix in it.
    words_TH: Tensor = embedding(torch.arange(0, rows, max(1, rows // 4096)))
    return float(words_TH.float().square().mean().sqrt())


def load_encoder(folder: Path, config: Any) -> Encoder:
    """Return the audio encoder of the model in `folder`, float32. Raises ValueError where its weights are not those of its
    config.json."""
    from models.audio.modeling import Encoder

    encoder = Encoder(config.audio_encoder_config)
    weights = dict(_encoder_weights(folder))
    shapes = {name: weight.shape for name, weight in encoder.state_dict().items()}
    for name, shape in shapes.items():
        if name not in weights or weights[name].shape != shape:
            problem = "is missing" if name not in weights else f"has shape {[*weights[name].shape]}, not {[*shape]}"
            theirs = released.encoder_name(name, inverse=True)
            raise ValueError(f"{folder}: its encoder's weight '{theirs}' {problem}; fetch the model again")
    encoder.load_state_dict({name: weights[name].float() for name in shapes})
    check_finite(f"the encoder of {folder}", encoder)
    return encoder.requires_grad_(False).eval()


def _encoder_weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield (our name, weight) of the encoder in a folder; the model's other weights are not read."""
    check_whole(folder, tokenizer=False)
    prefixes = PREFIXES[str(read_config(folder)["model_type"])]
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:  # type: ignore[no-untyped-call]
            for name in cast("list[str]", tensors.keys()):  # no dict: it cannot be iterated
                prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
                if prefix:
                    yield released.encoder_name(name.removeprefix(prefix)), tensors.get_tensor(name)


def new_adapter(config: Any, encoder: Encoder, loudness: float, seed: int) -> Adapter:
    """Return an adapter whose embeddings of sound start at the scale of the decoder's own, a root mean square of
    `loudness`, and in which two sounds differ."""
    from models.audio.modeling import Adapter, encode

    with torch.random.fork_rng():  # the caller's random state stays as it was
        torch.manual_seed(seed)
        adapter = Adapter(config.audio_encoder_config, config.text_config.hidden_size)
        wave_S = _sweep(torch.randn(4 * SAMPLE_RATE))
    (frames_PD,) = encode(encoder, config.audio_encoder_config, [wave_S])
    with torch.no_grad():
        # A few large numbers are the same in all of an encoder's frames. Left in, they would dominate every embedding,
        # and all sounds would be alike. The bias takes the mean frame out.
        kernel_sum_DD = adapter.conv.weight.sum(-1)
        assert adapter.conv.bias is not None
        adapter.conv.bias.copy_(-kernel_sum_DD @ frames_PD.mean(0))
        adapter.linear2.bias.zero_()
        (embeddings_KH,) = adapter([frames_PD])
        adapter.linear2.weight.mul_(loudness / embeddings_KH.square().mean().sqrt())
    return adapter


def _sweep(noise_S: Tensor) -> Tensor:
    """Return a sound of many frequencies and loudnesses [S]: a rising tone and noise, by turns."""
    seconds_S = torch.arange(len(noise_S)) / SAMPLE_RATE
    tone_S = torch.sin(2 * torch.pi * (100 + 400 * seconds_S) * seconds_S)
    swell_S = 0.5 + 0.5 * torch.sin(2 * torch.pi * 3 * seconds_S)
    return 0.2 * swell_S * tone_S + 0.05 * (1 - swell_S) * noise_S
