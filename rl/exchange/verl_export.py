"""`rl export verl`: a folder from which verl trains on a recipe's prompts, after its curation, with its reward."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from rl.config import ConfigError, first_line
from rl.exchange.exported_reward import COLUMN
from rl.exchange.folder import check_empty, longest_prompt, prompt_column, write_clips, write_program, write_reward
from rl.exchange.selection import Selection
from rl.exchange.verl_settings import Overrides, overrides
from rl.run.files import replacing_folder
from rl.types import AUDIO_PATCH, Prompt

HERE = "$HERE"
"""The exported folder in the values of `run.sh`."""
REWARD = '''"""The reward of the recipe '{name}' as verl's compute_score. Written by `rl export verl`; needs groundtone installed.

Verifiers judge in processes of their own, with deadlines. `score` is the reward, `acc` 1 where the answer is right, `error`
1 where it could not be judged (its score is 0: verl has no other word for it), the rest are the reward's parts.
"""

from pathlib import Path

from rl.exchange.exported_reward import ExportedReward

REWARD = {reward}

_reward = ExportedReward(REWARD, Path(__file__).parent)


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    """Return {{score, acc, error, …}} of one response. Its prompt is in extra_info['{column}']."""
    return _reward.compute_score(solution_str, extra_info)
'''
SCRIPT = """#!/usr/bin/env bash
# The rlvr stage '{stage}' of the recipe '{name}' for verl 0.9. Written by `rl export verl`; further overrides may follow:
#   ./run.sh trainer.n_gpus_per_node=8 actor_rollout_ref.rollout.tensor_model_parallel_size=2
{notes}set -euo pipefail
HERE="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
QUOTE="'"
HERE="${{HERE//$QUOTE/\\\\$QUOTE}}"  # below it stands in single quotes of Hydra's
exec python3 -m verl.trainer.main_ppo \\
{arguments} \\
  "$@"
"""


def export(selection: Selection, out: Path, say: Callable[[str], None]) -> None:
    """Write train.parquet, val.parquet, reward.py and run.sh to `out`, and check the overrides against verl's own
    configuration where verl is installed. Raises ValueError; nothing is left behind then."""
    check_empty(out)
    values, notes = overrides(selection, longest_prompt(selection, say))
    with replacing_folder(out) as folder:
        name = selection.recipe.name
        reward, behind = write_reward(selection, folder)
        (folder / "reward.py").write_text(REWARD.format(name=name, reward=reward, column=COLUMN), encoding="utf-8")
        _write_parquet(selection.train, "train", folder)
        if selection.test:
            _write_parquet(selection.test, "val", folder)
        comments = "".join(f"# {note}\n" for note in notes)
        arguments = " \\\n".join(f"  {argument(key, value)}" for key, value in values.items())
        script = SCRIPT.format(stage=selection.stage.name, name=name, notes=comments, arguments=arguments)
        write_program(folder / "run.sh", script)
        config = compose({key: _resolved(value, out.absolute()) for key, value in values.items()})
    for line in (*notes, *behind):
        say(line)
    say(
        "verl's configuration takes every override"
        if config
        else "the overrides are not checked: verl is not installed here (pip install 'groundtone[verl]')"
    )


def _resolved(value: object, folder: Path) -> object:
    return value.replace(HERE, str(folder)) if isinstance(value, str) else value


def argument(key: str, value: object) -> str:
    """Return an override as a word of the shell; `$HERE` in it stays the shell's."""
    text = hydra_value(value)
    literal = text.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$", "\\$")
    return f'"{key}={literal}"'.replace(f"\\{HERE}", HERE)


def hydra_value(value: object) -> str:
    """Return a value in Hydra's grammar: texts in single quotes, without which `null` and `1e5` would be no texts."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        return f"[{','.join(map(hydra_value, value))}]"
    if not isinstance(value, str):
        return str(value)
    # In quotes a backslash is itself, but before a quote.
    literal = value.replace("'", "\\'")
    return f"'{literal}'"


def compose(values: Overrides) -> bool:
    """Compose verl's own configuration with the overrides; return whether verl is here to ask. Raises ConfigError for one that
    it refuses. Imports Hydra, and nothing of verl's."""
    spec = find_spec("verl")
    if spec is None or not spec.submodule_search_locations:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Hydra's, about OmegaConf
        _compose(os.path.join(spec.submodule_search_locations[0], "trainer", "config"), values)
    return True


def _compose(folder: str, values: Overrides) -> None:
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    words = [f"{key}={hydra_value(value)}" for key, value in values.items()]
    try:
        with hydra.initialize_config_dir(config_dir=folder, version_base=None):
            hydra.compose(config_name="ppo_trainer", overrides=words)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(
            f"verl's configuration refuses an override: {first_line(error)}; report it, verl may be newer"
        ) from error


def rows(prompts: Sequence[Prompt], split: str, clips: Sequence[Sequence[str]]) -> list[dict[str, object]]:
    """Return the prompts, each with the paths of its clips, as rows of verl's five columns, and `audios` where one has
    clips."""
    has_sound = any(prompt.clips for prompt in prompts)
    pairs = zip(prompts, clips, strict=True)
    return [_row(prompt, split, index, paths, has_sound) for index, (prompt, paths) in enumerate(pairs)]


def _row(prompt: Prompt, split: str, index: int, clips: Sequence[str], has_sound: bool) -> dict[str, object]:
    turns = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
    if prompt.clips:
        turns = [{**turn, "content": turn["content"].replace(AUDIO_PATCH, "<audio>")} for turn in turns]
    row: dict[str, object] = {
        "data_source": prompt.source,
        "prompt": turns,
        "ability": "",
        "reward_model": {"style": "rule", "ground_truth": prompt.answer or ""},
        "extra_info": {"split": split, "index": index, "id": prompt.id, COLUMN: prompt_column(prompt, clips)},
    }
    # Relative paths, so that the folder can be moved: verl has to be started in it.
    return {**row, "audios": [{"path": path} for path in clips]} if has_sound else row


def _write_parquet(prompts: Sequence[Prompt], split: str, folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(rows(prompts, split, write_clips(prompts, folder)))
    pyarrow.parquet.write_table(table, folder / f"{split}.parquet")
