"""Trains models by LoRA (arXiv 2106.09685): beside each matrix W [out, in] of a frozen model, a product s · B A of rank
r.

Each stage attaches a fresh adapter to the model that it starts from: B = 0, so the first policy is that model, and with
the adapter off it is the stage's reference. peft attaches the adapter, and checkpoints and exports have its format.
torch and peft are imported inside functions, since a recipe's settings are read without them.

A model that listens also trains the whole of its audio adapter (between encoder and decoder), which peft calls
`modules_to_save`: it has no pretrained weights worth keeping.

The adapter of the module `q_proj` consists of the parameters `q_proj.lora_A.default.weight` [r, in] and
`q_proj.lora_B.default.weight` [out, r]; its own matrix is then called `q_proj.base_layer.weight`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from rl.config import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

ADAPTER_FILE, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""Names of peft's two files of an adapter."""
PREFIX = "base_model.model."
"""Beginning of the names of an adapter's tensors in peft's format, before the module's own name."""
BASE, DEFAULT = ".base_layer.", ".default."
"""Parts that peft adds to the names of parameters: of a target's own matrix, and of an adapter without a name."""
ENGINE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Largest ranks that a vLLM engine can be started for."""
ALL_LINEAR = "all-linear"


@dataclass
class LoraConfig:
    """Settings of a low-rank adapter that trains in place of all weights, in every stage that trains the language
    model."""

    rank: int = 16
    """Rank of the adapter of each matrix."""
    alpha: float = 32.0
    """Scale: an adapter adds alpha / rank × B A to its matrix. The division lets one learning rate suit every rank."""
    targets: Literal["all-linear"] | list[str] = ALL_LINEAR
    """Matrices that get an adapter: `all-linear`, all of the decoder's layers (not embeddings, head or audio parts), or names of them such as
    `[q_proj, v_proj]`."""
    engines: Literal["auto", "merged", "adapter"] = "auto"
    """Form in which engines get each update. `merged`: W + alpha / rank × B A, in float32 alone; `adapter`: A and B, which the
    engine applies itself. auto: `merged` in float32, where engines are faster with it, `adapter` in bfloat16, where the
    rounding of the sum would swallow small updates."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for a value out of range."""
        if self.rank < 1:
            raise ConfigError(f"{place}.rank: must be at least 1; got {self.rank}")
        if self.rank > ENGINE_RANKS[-1]:
            raise ConfigError(f"{place}.rank: engines take at most {ENGINE_RANKS[-1]}; got {self.rank}")
        if self.alpha <= 0:
            raise ConfigError(f"{place}.alpha: must be above 0, or the adapter does nothing; got {self.alpha:g}")
        if not self.targets or not all(name.strip(". ") for name in self.targets):
            raise ConfigError(
                f"{place}.targets: name at least one matrix, as [q_proj, v_proj] does, or `all-linear`; got {self.targets}"
            )

    @property
    def scale(self) -> float:
        """Factor of B A."""
        return self.alpha / self.rank

    def engines_merge(self, dtype: str) -> bool:
        """Return whether engines get merged matrices, and not the adapter, for a model of this `dtype`."""
        return dtype == "float32" if self.engines == "auto" else self.engines == "merged"

    def engine_rank(self, dtype: str) -> int:
        """Return the rank that an engine is started for, the smallest of those vLLM knows that holds the adapter; 0 where it gets
        merged matrices."""
        return 0 if self.engines_merge(dtype) else min(rank for rank in ENGINE_RANKS if rank >= self.rank)


def attach(lm: PreTrainedModel, config: LoraConfig, whole: nn.Module | None = None) -> None:
    """Freeze `lm` and give its decoder a fresh adapter, the same one each time; the module `whole`, a part of `lm`,
    trains too. Raises ValueError for a target that no linear layer of the decoder has."""
    import torch
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model

    modules = target_modules(lm, config)
    lm.requires_grad_(False)
    peft_config = PeftConfig(
        r=config.rank,
        # peft's type says int, its arithmetic takes any number, and so does vLLM's.
        lora_alpha=cast("int", int(config.alpha) if config.alpha == int(config.alpha) else config.alpha),
        target_modules=_shortest(lm, modules),
        modules_to_save=[_name_of(lm, whole)] if whole is not None else None,
        task_type="CAUSAL_LM",
        base_model_name_or_path=lm.name_or_path,
    )
    with torch.random.fork_rng(devices=[]):  # A is random: the same on all ranks, and in a run that is repeated
        torch.manual_seed(0)
        # Without `modules_to_save`: peft would hold a second copy of that part, whose names no engine knows.
        inject_adapter_in_model(replace(peft_config, modules_to_save=None), lm)
    if whole is not None:
        whole.requires_grad_(True)
    # Kept for `adapter_config`: peft's own place for it would make transformers save the model as an adapter.
    cast("Any", lm).lora_config = peft_config


def target_modules(lm: PreTrainedModel, config: LoraConfig) -> list[str]:
    """Return the full names of the linear layers that get an adapter. Raises ValueError for a target that none of the
    decoder's has."""
    linears = _linear_names(lm)
    if config.targets == ALL_LINEAR:
        return linears
    missing = [name for name in config.targets if not any(_has_name(module, name) for module in linears)]
    if missing:
        names = dict.fromkeys(module.rpartition(".")[2] for module in linears)
        raise ValueError(
            f"model.lora.targets: the decoder has no linear layer '{missing[0]}'; it has {', '.join(names)}, "
            "or write `all-linear`"
        )
    return [module for module in linears if any(_has_name(module, name) for name in config.targets)]


def _name_of(lm: PreTrainedModel, part: nn.Module) -> str:
    """Return the name of a module of the model's."""
    modules = cast("Iterator[tuple[str, nn.Module]]", lm.named_modules())
    return next(name for name, module in modules if module is part)


def _linear_names(lm: PreTrainedModel) -> list[str]:
    """Return the full names of the decoder's linear layers."""
    from torch import nn

    decoder = cast("nn.Module", lm.get_decoder())
    inside = {id(module) for module in decoder.modules()}
    modules = cast("Iterator[tuple[str, nn.Module]]", lm.named_modules())
    return [name for name, module in modules if isinstance(module, nn.Linear) and id(module) in inside]


def _has_name(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


def _shortest(lm: PreTrainedModel, modules: Sequence[str]) -> list[str]:
    """Return names by which peft finds exactly these modules in the whole model: their last parts if those suffice."""
    last_parts = sorted({module.rpartition(".")[2] for module in modules})
    everything = [name for name, _ in cast("Iterator[tuple[str, nn.Module]]", lm.named_modules())]
    matches = {name for name in everything if any(_has_name(name, part) for part in last_parts)}
    return last_parts if matches == {*modules} else [*modules]


def is_adapter(name: str) -> bool:
    """Return whether a parameter of this name is an adapter's."""
    return ".lora_A." in name or ".lora_B." in name


def base_name(name: str) -> str:
    """Return the name that a parameter which is no adapter's has in the model without adapters."""
    return name.replace(BASE, ".")


def base_parameters(parameters: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters (name, weight) of the model with its adapter off, by their names without adapters."""
    return ((base_name(name), weight) for name, weight in parameters if not is_adapter(name))


def merged_parameters(parameters: Iterable[tuple[str, Tensor]], scale: float) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters of the merged model, by their names without adapters: W + scale × B A, computed in float32, for a
    target's matrix. Holds one target's tensors at a time."""
    import torch

    base: tuple[str, Tensor] | None = None
    down_ri: Tensor | None = None  # A
    for name, weight in parameters:  # of each target: its own matrix, then A, then B
        if name.endswith(f"{BASE}weight"):
            base = base_name(name), weight
        elif ".lora_A." in name:
            down_ri = weight
        elif ".lora_B." in name:
            assert base is not None, "a target's own matrix comes before its adapter"
            assert down_ri is not None, "A comes before B"
            sum_oi = torch.addmm(base[1].float(), weight.float(), down_ri.float(), alpha=scale)
            yield base[0], sum_oi.to(base[1].dtype)
        else:
            yield base_name(name), weight


def adapter_name(name: str) -> str:
    """Return the name in peft's files, but for its prefix, of a parameter that trains: `….q_proj.lora_A.weight`."""
    return name.replace(DEFAULT, ".") if is_adapter(name) else name


def trained_names(module: nn.Module) -> set[str]:
    """Return the names of the parameters that train."""
    return {name for name, weight in module.named_parameters() if weight.requires_grad}


def changes(module: nn.Module) -> Callable[[str], bool]:
    """Return a function from a parameter's name in `module` to whether it has to be sent again after an update, for
    engines that get merged matrices."""
    names = trained_names(module)
    # Engines fuse neighbours (q, k and v; gate and up) into one matrix, and can only load all of its parts together.
    parents = {_parent(name) for name in names if is_adapter(name)}
    return lambda name: name in names or _parent(name) in parents


def _parent(name: str) -> str:
    """Return the module that holds the layer of a parameter, such as `….self_attn` for `….self_attn.q_proj.weight`."""
    layer = name.partition(".lora_")[0] if is_adapter(name) else base_name(name).rpartition(".")[0]
    return layer.rpartition(".")[0]


def adapter_config(lm: PreTrainedModel, whole: bool = True) -> str:
    """Return the text of peft's adapter_config.json; without `whole`, of the low-rank part alone."""
    values = cast("dict[str, object]", cast("Any", lm).lora_config.to_dict())
    values["inference_mode"] = True  # as peft writes it: a loaded adapter is not trained on unasked
    if not whole:
        values["modules_to_save"] = None
    values["target_modules"] = sorted(cast("set[str]", values["target_modules"]))  # a set, which JSON has not
    return json.dumps(values, indent=2, default=str)


def save_adapter(lm: PreTrainedModel, folder: str | Path, state: dict[str, Tensor]) -> None:
    """Write an adapter's two files, in peft's format; `state` goes by the names of `adapter_name`."""
    import safetensors.torch

    tensors = {f"{PREFIX}{name}": tensor for name, tensor in state.items()}
    safetensors.torch.save_file(tensors, Path(folder) / ADAPTER_FILE, metadata={"format": "pt"})
    (Path(folder) / ADAPTER_CONFIG).write_text(adapter_config(lm) + "\n")


def load_adapter(lm: PreTrainedModel, folder: str | Path) -> None:
    """Read the adapter in a folder into the one that `attach` gave the model. Raises ValueError if its targets or its
    rank differ."""
    import safetensors.torch
    import torch

    file = Path(folder) / ADAPTER_FILE
    tensors = safetensors.torch.load_file(file)
    trains = trained_names(lm)
    weights = {f"{PREFIX}{adapter_name(name)}": weight for name, weight in lm.named_parameters() if name in trains}
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in weights.items()}:
        raise ValueError(
            f"{file}: an adapter of other targets or another rank; resume with the model.lora that wrote it"
        )
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(tensors[name])


def has_adapter(folder: str | Path) -> bool:
    """Return whether a folder holds an adapter and not a whole model."""
    return (Path(folder) / ADAPTER_FILE).is_file()


@contextmanager
def adapter_off(module: nn.Module) -> Generator[None]:
    """Let the modules inside compute without their adapters."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [layer for layer in module.modules() if isinstance(layer, BaseTunerLayer)]
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
