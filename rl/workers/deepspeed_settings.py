"""The config that DeepSpeed is given: what the loop over micro-batches in `rl.workers.trainer` relies on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from rl.config import ConfigError, Values, shorten

REFUSED_OPTIONS = {
    "gradient_clipping": "set optimizer.gradient_clipping of a stage instead",
    "gradient_accumulation_steps": "set trainer.tokens_per_microbatch instead",
    # Divided by the ranks, it sets the accumulation steps.
    "train_batch_size": "set trainer.tokens_per_microbatch instead",
    "train_micro_batch_size_per_gpu": "set trainer.tokens_per_microbatch instead",
    "managed_gradient_accumulation": "set trainer.tokens_per_microbatch instead",
    # What the plan and the guards of encoders read.
    "zero_optimization.stage": "set trainer.zero_stage instead",
    # Their optimizers step on copies of the gradients: without ZeRO our clipping, of the module's own, would change
    # nothing.
    "fp16": "there is no float16; set model.dtype=bfloat16 or float32 instead",
    "bf16.enabled": "set model.dtype instead",
    "gradient_allreduce_op": "trainers rely on the mean over the ranks, DeepSpeed's default; remove it",
}
"""Options that `trainer.deepspeed` may not hold, by their place in it, with the fix."""
MAPPINGS = {
    "zero_optimization": "{overlap_comm: false}",
    "zero_optimization.offload_optimizer": "{device: cpu}",
    "bf16": "{check_grad_overflow: false}",
    "data_types": "{grad_accum_dtype: fp32}",
}
"""Options in which `deepspeed_settings` looks for others, with an example of each."""


def check_options(options: Values, place: str) -> None:
    """Raise ConfigError for an option that is refused, or for one without the options that belong in it."""
    places = dict(options)
    for name, value in options.items():
        if isinstance(value, dict):
            places |= {f"{name}.{key}": inner for key, inner in cast("Values", value).items()}
    for name, value in places.items():
        if name in REFUSED_OPTIONS:
            raise ConfigError(f"{place}.{name}: {REFUSED_OPTIONS[name]}")
        is_off = value is None and name == "zero_optimization.offload_optimizer"  # DeepSpeed's own word for it
        if name in MAPPINGS and not (isinstance(value, dict) or is_off):
            raise ConfigError(f"{place}.{name}: expected a mapping, such as {MAPPINGS[name]}; got {shorten(value)}")


def deepspeed_settings(
    dtype: str, zero_stage: int, options: Values, gradient_clipping: float, on_gpus: bool = False
) -> Values:
    """Return the config that DeepSpeed is given, with the `options` of the recipe (`trainer.deepspeed`) merged in last."""
    settings: Values = {
        "train_micro_batch_size_per_gpu": 1,  # it wants a number; batches are ragged, and it never counts them
        "managed_gradient_accumulation": False,  # `optimise` says when a step is due
        "gradient_clipping": gradient_clipping,  # explicit, or DeepSpeed clips at 1.0
        "zero_optimization": {"stage": zero_stage},
        "zero_allow_untested_optimizer": True,  # torch's AdamW is one
        # On CPU too, where it has kernels of its own: DeepSpeed's CPU Adam would be compiled at the first start.
        "zero_force_ds_cpu_optimizer": False,
    }
    if on_gpus:
        # DeepSpeed's 5e8 would be 4 GB, in float32 and with two buffers.
        settings["zero_optimization"]["reduce_bucket_size"] = 100_000_000
    if dtype == "bfloat16":
        # Left to itself DeepSpeed adds up micro-batches' gradients in bfloat16 and, without ZeRO, counts AdamW's steps
        # from 2. So stage 0 becomes 1, on any number of ranks: the ranks split master weights and optimizer states, and
        # the same step is taken.
        settings |= {"bf16": {"enabled": True}, "data_types": {"grad_accum_dtype": "fp32"}}
        settings["zero_optimization"]["stage"] = max(1, zero_stage)
        # Between ranks too gradients are added up in float32: in bfloat16 the sum would depend on their number. It costs
        # twice the bytes.
        settings["communication_data_type"] = "fp32"
    settings = _merge(settings, options)
    if offloads_optimizer(settings):  # of which stage 0 knows nothing
        settings["zero_optimization"]["stage"] = max(1, settings["zero_optimization"]["stage"])
    # Gathers and reductions beside the arithmetic. On CPUs there is nothing to run them beside, and below stage 2 DeepSpeed refuses
    # it where it does not count the micro-batches itself.
    zero = settings["zero_optimization"]
    zero.setdefault("overlap_comm", on_gpus and zero["stage"] >= 2)
    return settings


def offloads_optimizer(options: Mapping[str, Any]) -> bool:
    """Return whether DeepSpeed, with these options, keeps master weights and optimizer states off the GPU and takes the
    step on the host: that it does for any device but `none`."""
    offload: Values = options.get("zero_optimization", {}).get("offload_optimizer") or {}
    return offload.get("device") not in ("none", None)


def _merge(base: Values, extra: Values) -> Values:
    """Return `base` with the keys of `extra` over it, mappings merged key by key."""
    submappings = {
        key: _merge(base[key], extra[key]) for key in base.keys() & extra.keys() if isinstance(base[key], dict)
    }
    return {**base, **extra, **submappings}
