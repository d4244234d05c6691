"""Finds options under `engines.vllm` and `trainer.deepspeed` that these libraries do not have, without importing them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rl.config import did_you_mean

if TYPE_CHECKING:
    from rl.recipe import Recipe

# DeepSpeed leaves out what it does not know without a word, so a slip of the pen would change nothing.
DEEPSPEED_KEYS = frozenset(
    [
        "activation_checkpointing",
        "aio",
        "amp",
        "autotuning",
        "bf16",
        "bfloat16",
        "checkpoint",
        "comet",
        "comms_logger",
        "communication_data_type",
        "compile",
        "compression_training",
        "csv_monitor",
        "curriculum_learning",
        "data_efficiency",
        "data_types",
        "dataloader_drop_last",
        "disable_allgather",
        "disable_python_gc",
        "dump_state",
        "eigenvalue",
        "elasticity",
        "flops_profiler",
        "gradient_accumulation_steps",
        "gradient_clipping",
        "gradient_predivide_factor",
        "graph_harvesting",
        "hybrid_engine",
        "log_level",
        "memory_breakdown",
        "nebula",
        "optimizer",
        "pipeline",
        "prescale_gradients",
        "progressive_layer_drop",
        "scheduler",
        "seq_parallel_communication_data_type",
        "sparse_attention",
        "sparse_gradients",
        "steps_per_print",
        "tensor_parallel",
        "tensorboard",
        "timers",
        "torch_autocast",
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "use_data_before_expert_parallelism",
        "wall_clock_breakdown",
        "wandb",
        "weight_quantization",
        "zero_allow_untested_optimizer",
        "zero_force_ds_cpu_optimizer",
        "zero_optimization",
    ]
)
"""Keys of DeepSpeed's config at its top; a test looks each up in the installed one."""


REFUSED = {
    "model": "model.path",
    "tokenizer": "model.path",
    "dtype": "model.dtype",
    "tensor_parallel_size": "engines.gpus",
}
"""Options of vLLM that `engines.vllm` may not hold, with the recipe key that does their work: trainers and plan read that."""
JUDGE_KEYS = {"model": "model", "tokenizer": "model", "dtype": "dtype", "tensor_parallel_size": "gpus"}
"""Names of these keys for a judge."""


def check(recipe: Recipe) -> list[str]:
    """Return a line for each option that the library it is for does not have; none for a library that is not installed."""
    header = recipe.header
    lines = _unknown(header.engines.vllm, vllm_options, "engines.vllm", "vLLM's EngineArgs have")
    lines += [
        f"engines.vllm.{key}: set {place} instead" for key, place in REFUSED.items() if key in header.engines.vllm
    ]
    for name, judge in header.judges.items():
        keys = [key for key in REFUSED if key in judge.vllm]
        lines += [f"judges.{name}.vllm.{key}: set judges.{name}.{JUDGE_KEYS[key]} instead" for key in keys]
        lines += _unknown(judge.vllm, vllm_options, f"judges.{name}.vllm", "vLLM's EngineArgs have")
    options = header.trainer.deepspeed
    lines += _unknown(options, lambda: DEEPSPEED_KEYS, "trainer.deepspeed", "DeepSpeed's config has")
    zero = options.get("zero_optimization")
    if isinstance(zero, dict):
        place = "trainer.deepspeed.zero_optimization"
        lines += _unknown(zero, zero_options, place, "DeepSpeed has")
    return lines


def _unknown(options: Iterable[str], known: object, place: str, who: str) -> list[str]:
    # Only where there are options to look up: the library's source is read and parsed for it.
    names = known() if options and callable(known) else frozenset()
    lines: list[str] = []
    for key in options if names else ():
        if key not in names:
            near = did_you_mean(key, names)
            fix = near if "did you mean" in near else "; correct or remove it"
            lines.append(f"{place}.{key}: {who} no such option{fix}")
    return lines


@cache
def vllm_options() -> frozenset[str]:
    """Return the fields of vLLM's EngineArgs, as its source names them; empty where it is not installed or written otherwise."""
    return frozenset(_fields("vllm", "engine/arg_utils.py", "EngineArgs"))


@cache
def zero_options() -> frozenset[str]:
    """Return the keys of DeepSpeed's `zero_optimization`, as its source names them; empty where it is not installed."""
    names = {*_fields("deepspeed", "runtime/zero/config.py", "DeepSpeedZeroConfig")}
    # Some keys have another name in the config than the field that holds them, as `stage3_…` has.
    if file := _source("deepspeed", "runtime/zero/config.py"):
        names |= {*re.findall(r"alias=\"(\w+)\"", file.read_text(encoding="utf-8"))}
    return frozenset(names)


def _fields(package: str, path: str, name: str) -> list[str]:
    """Return the annotated names in the body of a class of a package's file; empty where there is no such."""
    file = _source(package, path)
    body = ast.parse(file.read_text(encoding="utf-8")).body if file else []
    classes = [node for node in body if isinstance(node, ast.ClassDef) and node.name == name]
    return [
        field.target.id
        for node in classes
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    ]


def _source(package: str, path: str) -> Path | None:
    spec = find_spec(package)
    file = Path(spec.origin).parent / path if spec and spec.origin else None
    return file if file and file.is_file() else None
