"""Loads, builds and saves models: a Hugging Face causal LM on disk or hub, or a small one built from scratch.

Either becomes a Hugging Face folder (config.json, model.safetensors, tokenizer): trainer, engine and the user's own tools
read the same files.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from models.folder import read_config
from models.quick_imports import skip_scikit_learn
from rl.finite import find_non_finite
from rl.types import AUDIO_PATCH

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

    from models.settings import BuildConfig, Dtype
    from models.shards import Shards


def build(config: BuildConfig, folder: Path, seed: int) -> Path:
    """Write a randomly initialised model to `folder`, unless one is there, and return the folder. It appears whole or not
    at all."""
    skip_scikit_learn()
    import torch

    from models.tokenizer import byte_tokenizer

    if (folder / "model.safetensors").exists():
        return folder
    with torch.random.fork_rng():  # the caller's random state stays as it was
        torch.manual_seed(seed)
        model = _random_model(config)
    partial = folder.with_name(f".{folder.name}.tmp")
    try:
        byte_tokenizer().save_pretrained(partial)
        model.save_pretrained(partial)
        return partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _random_model(config: BuildConfig) -> PreTrainedModel:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from models.tokenizer import END_OF_TURN, PAD, VOCABULARY

    decoder = Qwen2Config(
        **config.shape(),
        vocab_size=len(VOCABULARY),
        bos_token_id=None,
        eos_token_id=VOCABULARY[END_OF_TURN],
        pad_token_id=VOCABULARY[PAD],
    )
    if config.audio is None:
        return Qwen2ForCausalLM(decoder)
    from models.audio.config import StepAudioConfig
    from models.audio.modeling import StepAudio2ForCausalLM

    audio_config = StepAudioConfig(
        audio_encoder_config=config.audio.shape(), text_config=decoder, audio_token_id=VOCABULARY[AUDIO_PATCH]
    )
    return StepAudio2ForCausalLM(audio_config)


def load_model(path: str | Path, dtype: Dtype = "float32", shards: Shards | None = None) -> PreTrainedModel:
    """Return the causal LM at `path` with per-segment attention, ready to train; with `shards` its parameters are divided.
    Raises ValueError, in one line, when it cannot be read, when its weights are not those of its config.json, and when its
    arithmetic is not supported (see `models.supported`)."""
    skip_scikit_learn()
    import torch
    from safetensors import SafetensorError

    from models import attention
    from models.shards import dividing
    from models.supported import find_unsupported_key, find_unsupported_part

    attention.register()
    try:
        with dividing(shards) as faults:
            model, report = _auto_class(path).from_pretrained(
                path,
                dtype=getattr(torch, dtype),
                attn_implementation=attention.NAME,
                # The only format of weights that cannot hold code: the others are pickles.
                use_safetensors=True,
                trust_remote_code=False,  # unset, transformers asks on the terminal, and a piped "y" would run the code
                ignore_mismatched_sizes=True,  # reported below, in one line, with what is missing
                output_loading_info=True,
            )
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"model {path}: {_reason(path, error)}; expected a Hugging Face causal LM") from error
    # transformers only warns of these problems, and missing weights would be random. Files of other models may hold
    # more than is used (buffers of old versions); if a file for our own classes does, it is of another variant.
    problems = {
        "missing": sorted(report["missing_keys"]),
        "of another shape": sorted(name for name, *_ in report["mismatched_keys"]),
        "unexpected": sorted(report["unexpected_keys"]) if hasattr(model.config, "audio_encoder_config") else [],
    }
    if any(problems.values()):
        details = "; ".join(f"{problem}: {', '.join(names)}" for problem, names in problems.items() if names)
        raise ValueError(f"model {path}: its weights are not those of its config.json; {details}")
    check_finite(f"model {path}", model, faults)
    if problem := find_unsupported_key(model.config.to_dict()) or find_unsupported_part(model):
        raise ValueError(f"model {path}: {problem}; choose another model")
    return model


def check_finite(place: str, module: nn.Module, broken: Mapping[int, str] | None = None) -> None:
    """Raise ValueError naming the first parameter with a NaN or an infinity, of which nothing good can be learned. `broken`
    {id of a parameter: its problem} are those that were found while the module was divided."""
    parameters = [(name, (broken or {}).get(id(parameter))) for name, parameter in module.named_parameters()]
    problem = next((f"{name} is {problem}" for name, problem in parameters if problem), "")
    if problem := problem or find_non_finite(module.named_parameters()):
        raise ValueError(
            f"{place}: its weights are broken: {problem}; fetch or train it again, or choose another model"
        )


def empty_model(path: str | Path, dtype: Dtype = "float32", shards: Shards | None = None) -> PreTrainedModel:
    """Return a causal LM of the shape in the config.json at `path`, its weights still to be loaded; with `shards` its
    parameters are divided."""
    skip_scikit_learn()
    import torch
    from transformers import AutoConfig

    from models import attention
    from models.shards import Unread, dividing

    attention.register()
    auto_class = _auto_class(path)  # first: it makes our own classes known, which a config may name
    config = cast("PretrainedConfig", AutoConfig.from_pretrained(path, trust_remote_code=False))
    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "attn_implementation": attention.NAME}
    if shards is None:
        return auto_class.from_config(config, **options, trust_remote_code=False)
    with torch.device("meta"):
        model = cast("PreTrainedModel", auto_class.from_config(config, **options, trust_remote_code=False))
    # Loaded as if from a checkpoint, so that parameters are made and divided one after the other.
    unread = {name: Unread(tensor.shape, tensor.dtype) for name, tensor in model.named_parameters()}
    with dividing(shards):
        return cast("Any", type(model)).from_pretrained(
            None, config=config, state_dict=unread, **options, trust_remote_code=False
        )


def _auto_class(path: str | Path) -> Any:
    """Return transformers' Auto class for the model at `path`: for causal LMs, or for those that take other inputs too."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoModelForMultimodalLM

    from models import audio

    audio.register()
    config = cast("object", AutoConfig.from_pretrained(path, trust_remote_code=False))
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    return AutoModelForCausalLM if causal else AutoModelForMultimodalLM


def public_name(model: PreTrainedModel, name: str) -> str:
    """Return the name under which checkpoints and engines know a parameter of `model`."""
    # transformers 5.10 saves Qwen2-Audio's decoder as `language_model.model.model`, which no engine reads.
    if model.config.model_type == "qwen2_audio":
        for inner, outer in (
            ("model.language_model.", "language_model.model."),
            ("lm_head.", "language_model.lm_head."),
        ):
            if name.startswith(inner):
                return outer + name.removeprefix(inner)
        return name.removeprefix("model.")
    return name


def public_weights(model: PreTrainedModel, name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) of a parameter of `model` as checkpoints and engines know it: several for a mixture's experts, which
    transformers holds in one tensor and stores one by one."""
    from transformers.core_model_loading import revert_weight_conversion

    public = public_name(model, name)
    if public != name:
        yield public, tensor
    else:  # as `save_pretrained` does
        yield from revert_weight_conversion(model, {name: tensor}).items()


def save_model(model: PreTrainedModel, folder: str | Path, state: dict[str, Tensor]) -> None:
    """Write config.json and weights; `state` goes by the model's own parameter names. Raises OSError."""
    public = {public_name(model, name): tensor for name, tensor in state.items()}
    # Names that were translated here already must not be translated back by transformers once more.
    model.save_pretrained(folder, state_dict=public, save_original_format=public.keys() == state.keys())


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """Return the fast tokenizer at `path`, with a chat template. Raises ValueError, in one line, when it lacks a part."""
    skip_scikit_learn()
    from transformers import AutoTokenizer

    from models import audio
    from models.audio import released

    try:
        audio.register()
        tokenizer = cast("PreTrainedTokenizerFast", AutoTokenizer.from_pretrained(path, trust_remote_code=False))
    except Exception as error:  # `tokenizers` raises a bare Exception for a tokenizer.json that it cannot read
        raise ValueError(f"model {path}: {_reason(path, error)}; expected a tokenizer beside it") from error
    if not tokenizer("a").input_ids:  # transformers loads a folder without tokenizer.json all the same, with no tokens
        raise ValueError(f"model {path}: its tokenizer has no vocabulary; expected tokenizer.json beside it")
    if not tokenizer.is_fast:
        raise ValueError(f"model {path}: its tokenizer has no fast version (tokenizer.json); convert it first")
    config = read_config(path) if (Path(path) / "config.json").is_file() else {}
    if "step_audio" in str(config.get("model_type", "")):
        token_id = cast("int", config.get("audio_token_id", released.AUDIO_TOKEN_ID))
        released.complete(tokenizer, token_id, f"model {path}")
    if tokenizer.chat_template is None:
        raise ValueError(f"model {path}: its tokenizer has no chat template; add one to tokenizer_config.json")
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"model {path}: its tokenizer has no eos_token to end a turn; add one to tokenizer_config.json"
        )
    return tokenizer


def _reason(path: str | Path, error: Exception) -> str:
    """Return the first line of a library's error, which says enough where the folder exists."""
    reason = str(error) or type(error).__name__
    return reason.splitlines()[0].rstrip(".") if os.path.isdir(path) else "no such folder"
