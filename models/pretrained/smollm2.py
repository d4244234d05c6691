"""SmolLM2-135M-Instruct (Llama architecture, tied embeddings) from a GGUF file to a Hugging Face folder."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.pretrained.catalogue import READER
from models.pretrained.download import download

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BEGIN_OF_TURN, END_OF_TURN, UNKNOWN = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CONTROL = 3
"""GGUF's number for the type of a control token."""


def write(file: Path, folder: Path) -> None:
    """Write the model in a GGUF file to `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    tokenizer = _read_tokenizer(file)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    # transformers turns the queries and keys back, whose halves GGUF interleaves for its own rotary embedding.
    model = AutoModelForCausalLM.from_pretrained(
        str(file.parent), gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
    )
    tokens: dict[str, Any] = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": eos}
    model.config.update(tokens)
    model.generation_config = GenerationConfig(**tokens)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def provide_reader(scratch: Path) -> None:
    """Make the package `gguf` importable in this process, from a folder for what is needed meanwhile."""
    with zipfile.ZipFile(download(READER, scratch)) as archive:
        archive.extractall(scratch / "gguf")
    sys.path.append(str(scratch / "gguf"))


def _read_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer in a GGUF file.

    transformers' own conversion takes `<|im_start|>` for the end token and leaves out that digits stand alone (the file
    says so by the name of its pre-tokenizer, `smollm`)."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(file).fields
    kind = fields["tokenizer.ggml.pre"].contents()
    assert kind == "smollm", kind
    names: list[str] = fields["tokenizer.ggml.tokens"].contents()
    types: list[int] = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [name for name, type_ in zip(names, types, strict=True) if type_ == CONTROL]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in control])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN_OF_TURN,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TURN,
        unk_token=UNKNOWN,
        model_max_length=int(fields["llama.context_length"].contents()),
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = fields["tokenizer.chat_template"].contents()
    return fast
