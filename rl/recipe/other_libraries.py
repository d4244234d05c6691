"""Translates what users of TRL, ms-swift, verl and OpenRLHF write into what it is here: `rl recipes --names-elsewhere` prints the page
docs/from_other_libraries.md, and an unknown key of a recipe is explained by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rl.algorithms.presets import NAMES_ELSEWHERE as ALGORITHM_NAMES
from rl.recipe.reference import sections

INTRODUCTION = """# From TRL, ms-swift, verl and OpenRLHF

What you know under another name. `rl check` says it too: a key of theirs in a recipe, in an override (Hydra's
`actor_rollout_ref.actor.optim.lr=1e-6`) or as an option (`--learning_rate 1e-6`) is refused with its name here.

A recipe is a YAML file with a list of stages: `sft`, `dpo` and `rlvr` (GRPO, PPO, RLOO and their kin are its `algorithm`) are
stages of one run, each starting from the model of the one before. `STAGE` below is any stage that has the key, and overrides
are written without dashes: `rl run RECIPE rlvr.steps=50`. Every key is in [recipe_reference.md](recipe_reference.md), data in
their formats are read as [data.md](data.md) says. Your reward functions work as they are, verl's parquet files too, and a recipe can be exported
to verl and TRL: [verl_and_trl.md](verl_and_trl.md).
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting under its names elsewhere, several with a space between them, and under its keys here.

    Example: `Setting("num_generations", "rollout.n", "n_samples_per_prompt", "rlvr.samples_per_prompt")`.
    """

    trl: str
    """Names in TRL and in ms-swift, which has most of them too."""
    verl: str
    """Names in verl, from the section on that tells them apart."""
    openrlhf: str
    targets: str = ""
    """Keys of a recipe, or options of `rl run`; `*.key` is that of any stage which has it. Empty: there is none."""
    note: str = ""
    """Difference in meaning, or the reason why there is no such key."""

    @property
    def names(self) -> list[str]:
        """Return all its names in other libraries."""
        return f"{self.trl} {self.verl} {self.openrlhf}".split()


_WHOLE = "prompt and response together"
_STEP_ROWS = "rlvr.prompts_per_step *.sequences_per_step *.pairs_per_step *.clips_per_step"
_MEMORY = "it bounds memory and not the result; there is no accumulation to set"
_PRECISION = "engine logprobs are compared with the trainer's, and the run stops where they differ"
_PASSED_ON = "passed on to vLLM"

S = Setting
# fmt: off
SETTINGS = (
    # models
    S("model_name_or_path model_name sft_model_path model_id", "model.path", "pretrain", "model.path"),
    S("torch_dtype model_dtype", "model.dtype rollout.dtype", "param_dtype", "model.dtype"),
    S("bf16", "", "bf16", "model.dtype", "write bfloat16 or float32"),
    S("fp16", "", "", "model.dtype", "bfloat16 or float32; there is no float16"),
    S("tokenizer_name processing_class chat_template_path template", "", "tokenizer_chat_template", "", "the model's own is used"),
    S("attn_implementation attn_impl", "model.use_remove_padding", "flash_attn packing_samples", "", "always packed, without padding"),
    S("enable_thinking", "", "", "model.think"),
    S("lora_r lora_rank", "model.lora_rank", "lora_rank", "model.lora.rank"),
    S("lora_alpha", "model.lora_alpha", "lora_alpha", "model.lora.alpha"),
    S("lora_target_modules target_modules", "model.target_modules", "target_modules", "model.lora.targets", "`all-linear`, or names"),
    S("use_peft use_lora tuner_type train_type", "", "", "model.lora", "{rank: 16} trains an adapter; null trains all weights"),
    S("load_in_4bit load_in_8bit quant_bits", "", "", "", "there is no quantised training"),
    S("gradient_checkpointing", "model.enable_gradient_checkpointing", "", "model.gradient_checkpointing"),
    S("ref_model ref_model_name_or_path sync_ref_model", "ref.model", "", "", "the reference is the model that the stage starts from"),
    S("value_model_path critic_path", "critic.model.path", "critic_pretrain", "rlvr.critic"),
    # data
    S("dataset_name dataset train_dataset", "data.train_files", "prompt_data", "data.NAME.path"),
    S("val_dataset eval_dataset", "data.val_files", "eval_dataset", "data.NAME.path", "a data set of its own, that `eval:` or an evaluate stage reads"),
    S("dataset_train_split dataset_test_split dataset_config", "", "prompt_split eval_split", "*.split"),
    S("dataset_text_field prompt_column columns", "data.prompt_key", "input_key", "data.NAME.fields", "{question: COLUMN}, or {messages: COLUMN}"),
    S("label_column", "data.reward_fn_key data.label_key", "label_key", "data.NAME.fields", "{answer: COLUMN}"),
    S("max_samples", "data.train_max_samples data.val_max_samples", "max_samples", "*.limit"),
    S("system_prompt", "", "", "data.NAME.system"),
    S("apply_chat_template", "", "apply_chat_template", "", "always applied"),
    S("shuffle dataset_shuffle", "data.shuffle", "", "seed", "prompts are always drawn in random order"),
    S("dataset_num_proc dataloader_num_workers remove_unused_columns group_by_length", "data.dataloader_num_workers", "", "", "not needed: rows are read once, at the start"),
    # lengths
    S("max_completion_length max_new_tokens response_length max_length max_seq_length vllm_max_model_len", "data.max_response_length rollout.response_length rollout.max_model_len", "generate_max_len max_len max_new_tokens", "*.max_sequence_tokens judges.NAME.max_answer_tokens", _WHOLE),
    S("max_prompt_length", "data.max_prompt_length rollout.prompt_length data.truncation data.filter_overlong_prompts", "prompt_max_len", "*.max_sequence_tokens", f"{_WHOLE}; a prompt that leaves no room is refused, never cut"),
    S("packing padding_free", "", "", "", "always packed, without padding"),
    # sampling
    S("num_generations num_return_sequences", "rollout.n", "n_samples_per_prompt", "rlvr.samples_per_prompt *.samples"),
    S("num_generations_eval", "val_kwargs.n", "eval_n_samples_per_prompt", "evaluate.samples"),
    S("sampling_temperature", "val_kwargs.temperature val_kwargs.do_sample", "eval_temperature", "*.temperature"),
    S("top_p top_k min_p repetition_penalty generation_kwargs", "rollout.top_p rollout.top_k", "top_p", "*.temperature", "alone: samples come from the whole distribution, whose logprobs are trained on"),
    S("use_vllm vllm_mode vllm_server_host", "rollout.name rollout.mode", "", "", "vLLM always samples"),
    S("vllm_gpu_memory_utilization", "rollout.gpu_memory_utilization", "vllm_gpu_memory_utilization", "engines.vllm", "{gpu_memory_utilization: …}"),
    S("vllm_tensor_parallel_size", "rollout.tensor_model_parallel_size", "vllm_tensor_parallel_size", "engines.gpus"),
    S("num_infer_workers", "rollout.num_workers", "vllm_num_engines", "engines.count"),
    S("vllm_enforce_eager", "rollout.enforce_eager rollout.max_num_seqs", "enforce_eager", "engines.vllm", _PASSED_ON),
    # algorithms
    S("rlhf_type loss_type scale_rewards importance_sampling_level", "algorithm.adv_estimator algorithm.norm_adv_by_std_in_grpo policy_loss.loss_mode", "advantage_estimator", "rlvr.algorithm dpo.loss", "and what it sets: rlvr.objective"),
    S("beta kl_coef kl_loss_coef", "actor.kl_loss_coef kl_ctrl.kl_coef algorithm.use_kl_in_reward actor.use_kl_loss", "init_kl_coef use_kl_loss", "rlvr.objective.kl_coef dpo.beta"),
    S("kl_estimator", "algorithm.kl_penalty actor.kl_loss_type", "kl_estimator", "rlvr.objective.kl_estimator"),
    S("epsilon cliprange clip_range", "actor.clip_ratio clip_ratio_low", "eps_clip eps_clip_low_high", "rlvr.objective.clip_low rlvr.objective.clip_high", "both bounds"),
    S("epsilon_high", "clip_ratio_high", "", "rlvr.objective.clip_high"),
    S("delta", "clip_ratio_c", "dual_clip", "rlvr.objective.dual_clip"),
    S("cliprange_value vf_coef", "critic.cliprange_value", "value_clip", "rlvr.objective.value_clip"),
    S("", "algorithm.gamma", "", "rlvr.objective.gamma"),
    S("gae_lambda", "algorithm.lam", "lambd", "rlvr.objective.lam"),
    S("whiten_rewards whiten_advantages", "", "normalize_reward", "rlvr.objective.whiten"),
    S("entropy_coef ent_coef", "actor.entropy_coeff", "entropy_loss_coef", "rlvr.objective.entropy_coef"),
    S("", "actor.loss_agg_mode", "", "rlvr.objective.normalise"),
    S("vllm_importance_sampling_cap vllm_importance_sampling_correction", "rollout_is_threshold", "enable_vllm_is_correction", "rlvr.objective.importance_cap", _PRECISION),
    S("vllm_importance_sampling_mode vllm_importance_sampling_clip_min vllm_importance_sampling_clip_max", "rollout_correction.rollout_is rollout_rs rollout_rs_threshold", "", "rlvr.objective.importance", "{level: …, low: …, high: …, outside: clip or mask}"),
    S("dynamic_sample", "filter_groups.enable", "dynamic_filtering", "rlvr.objective.filter_zero_variance", "the algorithm `dapo` sets it"),
    S("soft_cache_length mask_truncated_completions overlong_filter", "overlong_buffer.len", "overlong_buffer_len", "rlvr.objective.overlong_buffer"),
    S("reference_free precompute_ref_log_probs", "", "", "", "the reference's logprobs are always computed once, before the first update"),
    # batches
    S("per_device_train_batch_size train_batch_size batch_size generation_batch_size", "data.train_batch_size data.gen_batch_size", "rollout_batch_size train_batch_size", _STEP_ROWS, "of a whole step, over all devices"),
    S("gradient_accumulation_steps micro_batch_size", "ppo_micro_batch_size ppo_micro_batch_size_per_gpu micro_batch_size_per_gpu log_prob_micro_batch_size_per_gpu ppo_max_token_len_per_gpu", "micro_train_batch_size micro_rollout_batch_size", "trainer.tokens_per_microbatch", _MEMORY),
    S("steps_per_generation num_mini_batches mini_batch_size", "actor.ppo_mini_batch_size", "", "rlvr.minibatches", "how many, not how large: rollouts of a step / their size"),
    S("num_iterations num_ppo_epochs", "actor.ppo_epochs critic.ppo_epochs", "max_epochs", "rlvr.epochs"),
    S("num_train_epochs", "trainer.total_epochs", "num_episodes max_epochs", "*.epochs rlvr.steps", "in rlvr, epochs × prompts / prompts_per_step"),
    S("max_steps num_steps total_episodes", "trainer.total_training_steps", "", "rlvr.steps sft.epochs dpo.epochs", "stages that imitate count epochs"),
    S("per_device_eval_batch_size", "data.val_batch_size", "micro_eval_batch_size", "", "not needed: vLLM takes what fits"),
    # optimisers
    S("learning_rate lr", "actor.optim.lr", "actor_learning_rate", "*.optimizer.learning_rate"),
    S("critic_lr", "critic.optim.lr", "critic_learning_rate", "rlvr.critic_optimizer.learning_rate"),
    S("warmup_ratio warmup_steps", "optim.lr_warmup_steps optim.lr_warmup_steps_ratio", "lr_warmup_ratio lr_warmup_steps", "*.optimizer.warmup_steps", "a number of optimiser steps"),
    S("lr_scheduler_type lr_scheduler", "optim.warmup_style optim.lr_scheduler_type", "lr_scheduler", "*.optimizer.schedule", "constant, linear or cosine"),
    S("weight_decay", "optim.weight_decay", "l2", "*.optimizer.weight_decay"),
    S("adam_beta1 adam_beta2 adam_betas", "optim.betas", "adam_betas", "*.optimizer.betas", "both: [0.9, 0.95]"),
    S("max_grad_norm", "actor.grad_clip optim.clip_grad", "max_norm", "*.optimizer.gradient_clipping"),
    S("optim adam_epsilon", "", "", "*.optimizer", "AdamW"),
    S("", "trainer.critic_warmup", "freezing_actor_steps", "rlvr.critic_warmup_steps"),
    # rewards
    S("reward_funcs reward_model_path external_plugins orm", "custom_reward_function.path custom_reward_function.name reward_manager reward_model.enable reward_model.model.path", "remote_rm_url reward_pretrain", "reward.parts", "[{verifier: math}], or yours as it is, file.py:fn; a trained reward model is a stage `reward_model`"),
    S("reward_weights", "", "", "reward.parts[i].weight"),
    S("cosine_min_len_value_wrong soft_max_length missing_eos_penalty", "overlong_buffer.penalty_factor", "overlong_penalty_factor", "rlvr.objective.overlong_penalty"),
    # machines
    S("deepspeed deepspeed_config", "actor.strategy actor.fsdp_config", "zero_stage", "trainer.zero_stage", "and trainer.deepspeed for its other options"),
    S("nproc_per_node num_processes", "trainer.n_gpus_per_node trainer.nnodes", "actor_num_gpus_per_node actor_num_nodes", "trainer.ranks", "over all machines"),
    S("vllm_enable_sleep_mode sleep_level", "rollout.free_cache_engine actor_rollout_ref.hybrid_engine", "colocate_all_models colocate_actor_ref", "cluster.placement", "colocated or split"),
    S("optimizer_offload", "fsdp_config.param_offload fsdp_config.optimizer_offload", "adam_offload", "trainer.deepspeed", "{zero_optimization: {offload_optimizer: {device: cpu}}}"),
    S("use_liger_kernel torch_compile ddp_timeout ddp_find_unused_parameters fsdp", "actor.use_torch_compile trainer.balance_batch", "ring_attn_size", "", "not needed"),
    # runs
    S("output_dir save_path", "trainer.default_local_dir", "save_path ckpt_path", "--out"),
    S("run_name experiment_name", "trainer.experiment_name trainer.project_name", "wandb_run_name", "name", "of the recipe; --out names a run's directory"),
    S("resume_from_checkpoint", "trainer.resume_mode", "load_checkpoint", "--resume"),
    S("report_to logging_steps logging_dir log_completions", "trainer.logger", "use_wandb use_tensorboard logging_steps", "track", "[tensorboard, wandb, mlflow, prometheus, file.py:Tracker]; every step is recorded"),
    S("save_steps save_strategy", "trainer.save_freq", "save_steps", "*.checkpoint_every"),
    S("save_total_limit", "trainer.max_actor_ckpt_to_keep", "max_ckpt_num", "*.keep"),
    S("", "trainer.rollout_data_dir trainer.validation_data_dir", "", "", "every sample is in the run's rollouts/; rl verifiers replay reads verl's too"),
    S("eval_steps eval_strategy do_eval", "trainer.test_freq", "eval_steps", "rlvr.eval_every rlvr.eval"),
    S("eval_on_start", "trainer.val_before_train", "", "", "put an evaluate stage before: - evaluate: {data: …}"),
    S("data_seed random_seed", "data.seed", "", "seed"),
    S("push_to_hub hub_model_id", "", "", "", "the run's model/ is a Hugging Face folder: upload that"),
    S("trust_remote_code use_hf", "model.trust_remote_code data.trust_remote_code", "", "", "code of a model's folder is never run"),
)
"""Every setting that is known under another name elsewhere."""
# fmt: on

_RLVR = "rlvr with `algorithm: {}`"
STAGE_NAMES = {
    "rl": "rlvr",
    "rlhf": "rlvr, or dpo",
    "grpo_trainer": _RLVR.format("grpo"),
    "finetune": "sft",
    "pt": "sft",
    "pretrain": "sft",
    "rm": "reward_model",
    "reward": "reward_model",
    "reward_modeling": "reward_model",
    "eval": "evaluate",
    "test": "evaluate",
    "validate": "evaluate",
    "raft": "distill, then sft",
    "rejection_sampling": "distill, then sft",
    "best_of_n": "distill, then sft",
    "generate": "distill",
    "rollout": "distill",
    "filter": "curate",
    "ipo": "dpo with `loss: ipo`",
    **dict.fromkeys(("gkd", "minillm"), "rlvr, with `algorithm: opd` and a `teacher`"),
    **dict.fromkeys(("kto", "orpo", "simpo", "cpo", "online_dpo", "xpo"), "not among them; dpo is nearest"),
}
"""Stages under their names elsewhere -> what they are here."""


def key_paths() -> Iterator[str]:
    """Yield every key of a recipe with its place: `rlvr.optimizer.learning_rate`, `data.NAME.path`, `reward.parts[i].weight`."""
    for section in sections():
        for place in section.places:
            yield from (f"{place}.{name}".lstrip(".") for name in section.config.__dataclass_fields__)


def render() -> str:
    """Return the page as Markdown."""
    lines = [INTRODUCTION, "| TRL, ms-swift | verl | OpenRLHF | here |", "|---|---|---|---|"]
    for setting in SETTINGS:
        here = ", ".join(f"`{target.replace('*', 'STAGE')}`" for target in setting.targets.split())
        note = f" ({setting.note})" if here and setting.note else setting.note
        cells = [
            ", ".join(f"`{name}`" for name in text.split()) for text in (setting.trl, setting.verl, setting.openrlhf)
        ]
        lines.append(f"| {' | '.join([*cells, here + note])} |")
    for title, names in (("Stages", STAGE_NAMES), ("Algorithms", ALGORITHM_NAMES)):
        lines += ["", f"## {title}", "", "| there | here |", "|---|---|"]
        lines += [f"| `{there}` | {here} |" for there, here in names.items()]
    return "\n".join([*lines, ""])
