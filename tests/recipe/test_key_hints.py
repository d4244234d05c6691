"""Keys as other libraries call them, and keys in the wrong place: the line says what to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rl.config import ConfigError
from rl.recipe import load
from rl.recipe.key_hints import find_setting
from rl.recipe.other_libraries import ALGORITHM_NAMES, SETTINGS, key_paths, render
from rl.stages.registry import STAGES

PAGE = Path(__file__).parents[2] / "docs" / "from_other_libraries.md"


def recipe(stages: list[Any] | None = None, **more: object) -> dict[str, Any]:
    return {
        "name": "tiny",
        "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
        "data": {"words": {"source": "reasoning_gym", "args": {"dataset": "spell_backward"}}},
        "reward": {"parts": [{"verifier": "text"}]},
        "stages": stages or [{"sft": {"data": "words"}}, {"rlvr": {"data": "words", "algorithm": "grpo"}}],
        **more,
    }


def message(values: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(values, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_target_is_a_key_of_a_recipe_or_an_option() -> None:
    keys = {*key_paths()}
    for setting in SETTINGS:
        for target in setting.targets.split():
            names = [f"{kind}{target[1:]}" for kind in STAGES] if target.startswith("*.") else [target]
            assert any(name in keys for name in names) or target in ("--out", "--resume"), target
        assert setting.targets or setting.note


def test_there_are_many_and_each_name_is_found() -> None:
    assert len(SETTINGS) > 60
    for setting in SETTINGS:
        assert all(find_setting(name) is not None for name in setting.names), setting


def test_the_page_is_up_to_date() -> None:
    fix = "write it anew: rl recipes --names-elsewhere > docs/from_other_libraries.md"
    assert PAGE.read_text() == render(), fix


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("rlvr.max_new_tokens=9", "stages[1].rlvr: unknown key 'max_new_tokens'; here it is 'max_sequence_tokens' (prompt"),
        ("sft.max_seq_length=9", "stages[0].sft: unknown key 'max_seq_length'; here it is 'max_sequence_tokens' (prompt"),
        ("rlvr.beta=0.1", "unknown key 'beta'; here it is 'objective.kl_coef'"),
        ("rlvr.kl_coef=0.1", "unknown key 'kl_coef'; here it is 'objective.kl_coef'"),
        ("rlvr.lr=1e-6", "unknown key 'lr'; here it is 'optimizer.learning_rate'"),
        ("rlvr.optimizer.lr=1e-6", "stages[1].rlvr.optimizer: unknown key 'lr'; here it is 'learning_rate'"),
        ("rlvr.optimizer.beta=1", "unknown key 'beta'; did you mean 'betas'?"),
        ("rlvr.num_generations=8", "unknown key 'num_generations'; here it is 'samples_per_prompt'"),
        ("rlvr.n=8", "unknown key 'n'; here it is 'samples_per_prompt'"),
        ("rlvr.batch_size=8", "unknown key 'batch_size'; here it is 'prompts_per_step' (of a whole step"),
        ("sft.batch_size=8", "unknown key 'batch_size'; here it is 'sequences_per_step' (of a whole step"),
        ("rlvr.Epsilon=0.2", "here it is 'objective.clip_low' and 'objective.clip_high' (both bounds)"),
        ("rlvr.objective.clip_ratio_low=0.2", "rlvr.objective: unknown key 'clip_ratio_low'; here it is 'clip_low' and"),
        ("rlvr.num_train_epochs=2", "here it is 'epochs' and 'steps' (in rlvr, epochs × prompts / prompts_per_step)"),
        ("sft.num_train_epochs=2", "here it is 'epochs' (in rlvr"),
        ("rlvr.gradient_accumulation_steps=2", "here it is 'trainer.tokens_per_microbatch' of the recipe (it bounds"),
        ("learning_rate=1e-6", "unknown key 'learning_rate'; here it is 'sft.optimizer.learning_rate'"),
        ("output_dir=runs/x", "unknown key 'output_dir'; here it is the option --out of rl run"),
        ("report_to=wandb", "unknown key 'report_to'; here it is 'track' ([tensorboard, wandb"),
        ("bf16=true", "unknown key 'bf16'; here it is 'model.dtype' (write bfloat16 or float32)"),
        ("model.model_name_or_path=x", "model: unknown key 'model_name_or_path'; here it is 'path'"),
        ("engines.vllm_gpu_memory_utilization=0.5", "engines: unknown key 'vllm_gpu_memory_utilization'; here it is 'vllm'"),
        ("engines.tensor_parallel_size=2", "engines: unknown key 'tensor_parallel_size'; known: "),
        ("actor_rollout_ref.actor.optim.lr=1e-6", "unknown key 'actor_rollout_ref.actor.optim.lr'; here it is 'sft.optim"),
        ("critic.optim.lr=1e-5", "unknown key 'critic.optim.lr'; here it is 'rlvr.critic_optimizer.learning_rate'"),
        ("actor_rollout_ref.rollout.n=8", "unknown key 'actor_rollout_ref.rollout.n'; here it is 'rlvr.samples_per_prompt'"),
        ("actor_rollout_ref.model.path=Qwen/Q", "unknown key 'actor_rollout_ref.model.path'; here it is 'model.path'"),
        ("algorithm.adv_estimator=grpo", "unknown key 'algorithm.adv_estimator'; here it is 'rlvr.algorithm'"),
        ("trainer.total_epochs=3", "trainer: unknown key 'total_epochs'; here it is "),
        ("trainer.n_gpus_per_node=8", "trainer: unknown key 'n_gpus_per_node'; here it is 'ranks' (over all machines)"),
        ("data.train_files=a.parquet", "data.train_files: not a data set, whose value is a mapping (NAME: {source: …}); here"),
        ("data.max_prompt_length=512", "data.max_prompt_length: not a data set"),
        ("rlvr.seed=3", "unknown key 'seed'; here it is 'seed' of the recipe"),
        ("rlvr.tokens_per_microbatch=3", "unknown key 'tokens_per_microbatch'; there is 'trainer.tokens_per_microbatch' of"),
        ("rlvr.gamma=1", "unknown key 'gamma'; here it is 'objective.gamma'"),
        ("rlvr.whiten=false", "unknown key 'whiten'; there is 'objective.whiten'"),
        ("rlvr.exuberance=1", "unknown key 'exuberance'; known: algorithm, checkpoint_every"),
        ("--rlvr.steps=3", "override '--rlvr.steps=3': overrides have no sign before them; write rlvr.steps=3"),
        ("+rlvr.steps=3", "overrides have no sign before them; write rlvr.steps=3"),
        ("++trainer.total_epochs=3", "and this one another name: here it is "),
        ("rlvr.algorithm=reinforce_plus_plus", "unknown algorithm 'reinforce_plus_plus'; here it is reinforce++"),
        ("rlvr.algorithm=DPO", "unknown algorithm 'DPO'; here it is a stage of its own: `- dpo: {…}`"),
        ("rlvr.algorithm=dr-grpo", "unknown algorithm 'dr-grpo'; did you mean 'dr_grpo'?"),
    ],
)  # fmt: skip
def test_what_others_write_is_named(override: str, says: str) -> None:
    assert says in message(recipe(), override)


@pytest.mark.parametrize(("override", "place"), [("top_p=0.9", ""), ("sft.top_p=0.9", "stages[0].sft: ")])
def test_a_key_that_no_stage_of_the_recipe_has_is_named_in_one_that_has_it(override: str, place: str) -> None:
    assert message(recipe([{"sft": {"data": "words"}}]), override) == (
        f"{place}unknown key 'top_p'; here it is 'rlvr.temperature' (alone: samples come from the whole distribution, "
        "whose logprobs are trained on)"
    )


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ("GRPO", "stages[0]: expected one stage such as `- sft: {…}`; got 'GRPO'; that is an algorithm: write `- rlvr: {alg"),
        ("grpo", "write `- rlvr: {algorithm: grpo, …}`"),
        ("PPO", "write `- rlvr: {algorithm: ppo, …}`"),
        ("eval", "here it is evaluate"),
        ("RM", "here it is reward_model"),
        ("kto", "here it is not among them; dpo is nearest"),
        ("RewardModel", "did you mean 'reward_model'?"),
        ("xyz", "known: arbitrate, curate, "),
    ],
)  # fmt: skip
def test_stages_that_others_have(stage: str, says: str) -> None:
    assert says in message(recipe([{stage: {"data": "words"}}]))


def test_capitals_do_not_matter() -> None:
    loaded = load(
        recipe([{"SFT": {"data": "words"}}, {"Rlvr": {"data": "words", "algorithm": "GRPO"}}]), ["rlvr.steps=3"]
    )
    assert [(stage.name, stage.kind) for stage in loaded.stages] == [("sft", "sft"), ("rlvr", "rlvr")]
    assert (loaded.stages[1].config.algorithm, loaded.stages[1].config.steps) == ("grpo", 3)
    assert loaded.source["stages"][1]["rlvr"]["algorithm"] == "grpo"  # a resumed run compares what is saved


def test_algorithms_elsewhere_are_not_those_here() -> None:
    from rl.algorithms.presets import ALGORITHMS

    assert not {*ALGORITHM_NAMES} & {*ALGORITHMS}
