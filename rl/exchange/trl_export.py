"""`rl export trl`: a folder from which TRL's GRPOTrainer trains on a recipe's prompts, after its curation, with its reward."""

from __future__ import annotations

import pprint
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rl.config import ConfigError
from rl.exchange.exported_reward import COLUMN
from rl.exchange.folder import check_empty, longest_prompt, prompt_column, write_program, write_reward
from rl.exchange.selection import Selection
from rl.run.files import replacing_folder, write_jsonl
from rl.stages.rlvr.config import Config
from rl.types import Prompt
from rl.units import many

Settings = dict[str, object]
"""Field of TRL's GRPOConfig -> value."""
ADVANTAGES = {"grpo": "group", "dr_grpo": "none"}
"""Our advantage -> TRL's `scale_rewards`."""
SCHEDULES = {"constant": "constant_with_warmup"}
"""Our `schedule` -> the name of transformers, where it has another."""
MEANS = {"token_mean": "dapo", "sequence_mean": "grpo", "constant": "dr_grpo"}
"""Our `normalise` -> TRL's `loss_type`."""
REWARD = '''"""The reward of the recipe '{name}' as a reward function of TRL's. Written by `rl export trl`; needs groundtone installed.

Verifiers judge in processes of their own, with deadlines. A completion that cannot be judged is None, which TRL leaves out.
"""

from pathlib import Path

from rl.exchange.exported_reward import ExportedReward

REWARD = {reward}

_reward = ExportedReward(REWARD, Path(__file__).parent)


def reward(completions, {column}, log_metric=None, **kwargs):
    """Return the score of each completion; the means of the reward's parts are logged."""
    return _reward.rewards(completions, {column}, log_metric)
'''
SCRIPT = '''#!/usr/bin/env python3
"""The rlvr stage '{stage}' of the recipe '{name}' for TRL's GRPOTrainer. Written by `rl export trl`.

    python train.py                                    accelerate launch --num_processes {ranks} train.py
    python train.py --learning_rate 2e-6 --use_vllm    (options are fields of GRPOConfig)
{notes}"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

SETTINGS = {settings}


def main() -> None:
    from datasets import load_dataset
    from reward import reward
    from transformers import HfArgumentParser
    from trl import GRPOConfig, GRPOTrainer

    options = [word for key, value in SETTINGS.items() for word in (f"--{{key}}", str(value))]
    (config,) = HfArgumentParser(GRPOConfig).parse_args_into_dataclasses([*options, *sys.argv[1:]])
    data = load_dataset("json", data_files={{
        name: str(HERE / f"{{name}}.jsonl") for name in ("train", "test") if (HERE / f"{{name}}.jsonl").is_file()
    }})
    trainer = GRPOTrainer(
        model={model!r},
        args=config,
        reward_funcs=reward,
        train_dataset=data["train"],
        eval_dataset=data.get("test"),{peft}
    )
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main()
'''
PEFT = """
        peft_config=__import__("peft").LoraConfig(r={rank}, lora_alpha={alpha}, target_modules={targets!r}),"""


def export(selection: Selection, out: Path, say: Callable[[str], None]) -> None:
    """Write train.jsonl, test.jsonl, reward.py and train.py to `out`. Raises ValueError, and ConfigError for prompts
    with sound; nothing is left behind then."""
    check_empty(out)
    if any(prompt.clips for prompt in (*selection.train, *selection.test)):
        raise ConfigError(
            "rl export trl: the prompts have sound, which TRL's GRPOTrainer does not hear; export to verl"
        )
    values, notes = settings(selection, longest_prompt(selection, say))
    name, lora = selection.recipe.name, selection.recipe.header.model.lora
    with replacing_folder(out) as folder:
        reward, behind = write_reward(selection, folder)
        (folder / "reward.py").write_text(REWARD.format(name=name, reward=reward, column=COLUMN), encoding="utf-8")
        write_jsonl(folder / "train.jsonl", rows(selection.train))
        if selection.test:
            write_jsonl(folder / "test.jsonl", rows(selection.test))
        script = SCRIPT.format(
            stage=selection.stage.name,
            name=name,
            ranks=selection.recipe.header.trainer.ranks,
            notes="".join(f"\n{note}" for note in notes) + ("\n" if notes else ""),
            settings=pprint.pformat(values, width=116, sort_dicts=False),
            model=selection.model,
            peft=PEFT.format(rank=lora.rank, alpha=lora.alpha, targets=lora.targets) if lora else "",
        )
        write_program(folder / "train.py", script)
    for line in (*notes, *behind):
        say(line)


def rows(prompts: Sequence[Prompt]) -> list[Mapping[str, object]]:
    """Return the prompts as rows of TRL's prompt-only, conversational form, with the column that the reward reads."""
    return [
        {
            "prompt": [{"role": turn.role, "content": turn.content} for turn in prompt.messages],
            "id": prompt.id,
            COLUMN: prompt_column(prompt, ()),
        }
        for prompt in prompts
    ]


def settings(selection: Selection, prompt_tokens: int) -> tuple[Settings, list[str]]:
    """Return (fields of GRPOConfig, a line for each setting that TRL cannot take). Raises ConfigError for what its GRPOTrainer
    does not have: a critic, and advantages other than GRPO's and Dr. GRPO's."""
    config, header = selection.config, selection.recipe.header
    objective = config.build_objective(selection.stage.place)
    place = selection.stage.place
    if objective.advantage not in ADVANTAGES:
        raise ConfigError(
            f"{place}.algorithm: TRL's GRPOTrainer has no advantage '{objective.advantage}'; set algorithm: grpo (or "
            "dr_grpo, dapo, gspo, cispo)"
        )
    if objective.policy_loss not in ("ppo_clip", "gspo", "cispo"):
        raise ConfigError(
            f"{place}.objective.policy_loss: TRL has no '{objective.policy_loss}'; it has ppo_clip, gspo, cispo"
        )
    values: Settings = {
        "output_dir": f"trl-{selection.recipe.name}",
        # TRL counts optimiser steps, a stage of ours steps of sampling.
        "max_steps": config.steps * config.optimiser_steps,
        **_batches(config, header.trainer.ranks, place),
        "num_generations": config.samples_per_prompt,
        "num_iterations": config.epochs,
        "max_completion_length": config.max_sequence_tokens - prompt_tokens,
        "temperature": config.temperature,
        "learning_rate": config.optimizer.learning_rate,
        # The `constant` of transformers has no warm-up.
        "lr_scheduler_type": SCHEDULES.get(config.optimizer.schedule, config.optimizer.schedule),
        "warmup_steps": config.optimizer.warmup_steps,
        "weight_decay": config.optimizer.weight_decay,
        "adam_beta1": config.optimizer.betas[0],
        "adam_beta2": config.optimizer.betas[1],
        "max_grad_norm": config.optimizer.gradient_clipping,
        "loss_type": "cispo" if objective.policy_loss == "cispo" else MEANS[objective.normalise],
        "scale_rewards": ADVANTAGES[objective.advantage],
        "importance_sampling_level": "sequence" if objective.policy_loss == "gspo" else "token",
        "epsilon": objective.clip_low,
        "epsilon_high": objective.clip_high,
        "beta": objective.kl_coef if objective.kl_in == "loss" else 0.0,
        "entropy_coef": objective.entropy_coef,
        "mask_truncated_completions": objective.mask_truncated,
        "gradient_checkpointing": header.model.gradient_checkpointing,
        "bf16": header.model.dtype == "bfloat16",
        "seed": header.seed,
        "save_steps": config.checkpoint_every * config.optimiser_steps,
        "logging_steps": 1,
        "report_to": "none",
    }
    if config.eval_every:
        values |= {"eval_strategy": "steps", "eval_steps": config.eval_every * config.optimiser_steps}
        values["per_device_eval_batch_size"] = config.samples_per_prompt  # TRL evaluates whole groups too
    return values, _not_carried_over(selection)


def _batches(config: Config, ranks: int, place: str) -> Settings:
    """Return the sizes with which TRL takes as many optimiser steps on the samples of a step as the stage. Raises ConfigError
    where the samples do not divide among devices and optimiser steps."""
    samples, parts = config.prompts_per_step * config.samples_per_prompt, ranks * config.minibatches
    if samples % parts:
        raise ConfigError(
            f"{place}.prompts_per_step: {config.prompts_per_step} prompts × {config.samples_per_prompt} samples do not "
            f"divide into {many(ranks, 'rank')} × {many(config.minibatches, 'minibatch')}, as TRL needs; "
            "change prompts_per_step or trainer.ranks"
        )
    share = samples // parts
    # A device computes the samples of one prompt at once, or fewer if an optimiser step is no whole number of such batches.
    batch = max(size for size in range(1, config.samples_per_prompt + 1) if share % size == 0)
    return {
        "per_device_train_batch_size": batch,
        "steps_per_generation": share // batch * config.minibatches,
        "gradient_accumulation_steps": share // batch,
    }


def _not_carried_over(selection: Selection) -> list[str]:
    config, header = selection.config, selection.recipe.header
    objective = config.build_objective()
    notes = {
        "objective.kl_coef in the reward (TRL has it in the loss)": objective.kl_coef > 0
        and objective.kl_in == "reward",
        f"objective.kl_estimator {objective.kl_estimator} (TRL has k3)": objective.kl_coef > 0
        and objective.kl_in == "loss"
        and objective.kl_estimator != "k3",
        "objective.teacher_coef": objective.teacher_coef > 0,
        "curriculum: pass_rate": config.curriculum == "pass_rate",
        "max_lag (TRL samples, and then learns)": config.max_lag > 0,
        "objective.dual_clip": objective.dual_clip is not None,
        "objective.filter_zero_variance": objective.filter_zero_variance,
        "objective.overlong_buffer": objective.overlong_buffer > 0,
        "objective.importance is TRL's vllm_importance_sampling_correction": objective.correction is not None,
        "trainer.zero_stage: give accelerate a DeepSpeed configuration": header.trainer.zero_stage > 0,
        "reward.watch": bool(selection.reward.watch),
    }
    return [f"{selection.stage.place}: not carried over: {name}" for name, applies in notes.items() if applies]
