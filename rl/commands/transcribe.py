"""`rl data transcribe`: what a Whisper model hears of a data set, for `arbitrate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rl.commands.arguments import RecipeName

DataName = Annotated[str, typer.Argument(metavar="DATA", help="A data set of the recipe, whose prompts have one clip.")]
Ear = Annotated[str, typer.Option("--ear", help="A Whisper model: a name that `rl pretrained` knows, or a folder.")]
Out = Annotated[Path, typer.Option("--out", help="The file. What this ear has heard already is not heard again.")]
Splits = Annotated[
    list[str] | None, typer.Option("--split", help="Only this split; may be given several times. Default: all rows.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="The first so many prompts of each split.")]
Digits = Annotated[bool, typer.Option("--digits", help="Write spoken digits as figures: 'Seven, 35.' is '7 3 5'.")]


def transcribe(
    recipe: RecipeName,
    data: DataName,
    out: Out,
    ear: Ear = "whisper-tiny.en",
    split: Splits = None,
    limit: Limit = None,
    digits: Digits = False,
) -> None:
    """Write what a Whisper model hears of a data set, for `data: {NAME: {external: FILE}}`."""
    from models.folder import on_disk
    from models.transcription import check_recogniser, transcribe
    from rl.config import ConfigError, did_you_mean
    from rl.data.sources import load
    from rl.data.transcripts import transcribed_ids, write_digits
    from rl.recipe import load as load_recipe
    from rl.run.progress import Progress
    from rl.terminal import say

    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(f"--out: {out} is no file in a folder that exists; name one")
    sets = load_recipe(recipe).header.data
    if data not in sets:
        raise ConfigError(f"DATA: {recipe} has no data set '{data}'{did_you_mean(data, sets)}")
    folder = on_disk(ear, "--ear")
    check_recogniser(folder, "--ear")
    prompts = [p for name in split or [None] for p in load(sets[data], name, limit, f"data.{data}")]
    for prompt in prompts:
        if len(prompt.clips) != 1:
            raise ConfigError(f"DATA: prompt '{prompt.id}' has {len(prompt.clips)} clips; an ear hears one")
    stored = transcribed_ids(out, ear, digits)
    missing = [prompt for prompt in prompts if prompt.id not in stored]
    say(f"{out}: {len(prompts) - len(missing):,} of {len(prompts):,} prompts are there already")
    try:
        file = out.open("a")
    except OSError as error:
        raise ConfigError(f"--out: {out} cannot be written ({error.strerror}); name another file") from error
    with file, Progress("transcribe", len(prompts)) as progress:
        for number, (prompt, heard) in enumerate(
            zip(missing, transcribe(folder, (prompt.clips[0] for prompt in missing)), strict=True), 1
        ):
            external = write_digits(heard) if digits else heard
            # a line the moment it is heard: what was stopped goes on
            line = {"id": prompt.id, "external": external, "heard": heard, "ear": ear, "digits": digits}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            progress.advance(len(prompts) - len(missing) + number, {})
