"""The config that DeepSpeed is given: what the loop over micro-batches in `rl.workers.trainer` relies on."""

from __future__ import annotations

from rl.config import Values

REFUSED_OPTIONS = {
    "gradient_clipping": "optimizer.gradient_clipping of a stage",
    "gradient_accumulation_steps": "trainer.tokens_per_microbatch",
    "train_batch_size": "trainer.tokens_per_microbatch",  # divided by the ranks, it sets the accumulation steps
    "train_micro_batch_size_per_gpu": "trainer.tokens_per_microbatch",
    "managed_gradient_accumulation": "trainer.tokens_per_microbatch",
}
"""Options that `trainer.deepspeed` may not hold, with the recipe key that does their work."""


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


def offloads_optimizer(settings: Values) -> bool:
    """Return whether DeepSpeed keeps master weights and optimizer states on the host, where the step is taken too."""
    offload: Values = settings["zero_optimization"].get("offload_optimizer") or Values()
    return offload.get("device") == "cpu"


def _merge(base: Values, extra: Values) -> Values:
    """Return `base` with the keys of `extra` over it, mappings merged key by key."""
    submappings = {
        key: _merge(base[key], extra[key]) for key in base.keys() & extra.keys() if isinstance(base[key], dict)
    }
    return {**base, **extra, **submappings}
