"""A stretch of a clip that an environment puts into the policy's turn is heard as the trainer hears it, and as it was cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl.audio import SAMPLE_RATE, waveform
from rl.messages import open_turn
from rl.types import AUDIO_PATCH, Clip, Message, Prompt, Rollout

GAME = """
from rl.types import AUDIO_PATCH, Clip, Message, Reply
from rollouts.environments.tools.listen import listen

def step(prompt, rollout):
    turn = len(rollout.exchanges)
    if turn == int(prompt.answer):
        return None
    return Reply((Message("assistant", AUDIO_PATCH),), (listen(prompt, 0.5 * turn, 0.5 * turn + 0.4),), note="listen")
"""


def respawn(i: int) -> Any:
    raise AssertionError("no engine died")


@pytest.fixture(scope="module")
def heard(
    audio_engine: Any, listener: Path, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory
) -> list[Rollout]:
    from models.hearing import clip_counter
    from models.load import load_tokenizer
    from rl.data.chat import Chat
    from rollouts.environments.config import EnvironmentConfig
    from rollouts.environments.service import EnvironmentService
    from rollouts.sampler import Sampler

    folder = tmp_path_factory.mktemp("again")
    (folder / "hear_again.py").write_text(GAME)
    chat = Chat(load_tokenizer(listener), count_audio_tokens=clip_counter(listener))
    sampler = Sampler([audio_engine], respawn, chat)
    sampler.load(listener, version=1)
    # A random model seldom ends a turn: it is paused wherever it writes one of these.
    config = EnvironmentConfig(step="hear_again.py:step", stop=[*map(chr, range(32, 127))])
    prompts = [
        Prompt(f"p{times}", (Message("user", f"{AUDIO_PATCH} what is it?"),), str(times), clips=(clips[5],))
        for times in (0, 1, 3)
    ]
    with EnvironmentService(config, folder) as environment:
        environment.start()
        sampler.episodes.environment = environment
        stream = sampler.generate(prompts, samples=4, temperature=1.0, max_sequence_tokens=400, seed=5)
        return [rollout for batch in stream for rollout in batch]


def test_what_is_heard_again_is_the_stretch(heard: list[Rollout]) -> None:
    assert {len(r.exchanges) for r in heard if r.error is None} >= {0, 1, 3}
    for r in heard:
        assert r.error is None
        whole = waveform(r.prompt.clips[0])
        for turn, exchange in enumerate(r.exchanges):
            (clip,) = exchange.reply.clips
            start = SAMPLE_RATE // 2 * turn
            assert np.abs(waveform(clip) - whole[start : start + round(0.4 * SAMPLE_RATE)]).max() < 1e-6
            assert not r.action_mask[exchange.start : exchange.end].any()
            assert r.action_mask[exchange.start - 1]
        assert len(r.clips) == 1 + len(r.exchanges)
        written = r.text[len(open_turn(r.exchanges)) :]  # a random model may write the mark itself, at its end
        assert r.text.count(AUDIO_PATCH) - written.count(AUDIO_PATCH) == len(r.exchanges)


def test_engine_and_trainer_agree_on_what_was_written_after_it(heard: list[Rollout], listener: Path) -> None:
    import torch

    from models.heads import LogprobModel

    model = LogprobModel(listener, "float32")
    token = model.lm.config.audio_token_id
    compared = 0
    for r in heard:
        if token in r.tokens[r.action_mask]:
            continue
        lengths_N, mask_T = torch.tensor([len(r.tokens)]), torch.tensor(r.action_mask)
        with torch.no_grad():
            sounds = model.encode([waveform(clip) for clip in r.clips])
            logprobs_A, _ = model(torch.tensor(r.tokens), lengths_N, mask_T, 1.0, sounds)
        assert np.abs(logprobs_A.numpy() - r.logprobs).max() < 1e-4
        compared += len(r.exchanges)
    assert compared > 3, "sounds that were put in are among what both have heard"


@pytest.mark.parametrize("tags", [(), ((0.5, 1.0),), ((0.5, 1.0), (0.0, 0.25), (1.2, 2.1))])
def test_a_demonstration_hears_what_a_rollout_would(
    listener: Path, clips: list[Clip], tags: tuple[tuple[float, float], ...]
) -> None:
    import torch

    from models.hearing import clip_counter, get_hearing
    from models.load import load_model, load_tokenizer
    from rl.data.chat import Chat
    from rl.stages.rehearsal import Rehearsal
    from rl.types import Demonstration
    from rollouts.environments.config import EnvironmentConfig
    from rollouts.environments.service import EnvironmentService

    clip = clips[5]  # 2.1 s: heard coarsely as a whole, its stretches in full
    chain = "it is " + " ".join(f"<seg>{start}, {end}</seg> a tone" for start, end in tags)
    prompt = Prompt(
        "p", (Message("user", f"{AUDIO_PATCH}which?"),), "d", clips=(clip,), demonstration=Demonstration(chain, "d")
    )
    chat = Chat(load_tokenizer(listener), count_audio_tokens=clip_counter(listener))
    with EnvironmentService(EnvironmentConfig(tools=["listen"])) as environment:
        batch = Rehearsal(chat, environment, 400).collate([prompt])
    hearing = get_hearing(load_model(listener))
    assert hearing is not None
    patches_T = (batch.tokens_T == hearing.patch_id).tolist()
    starts = [i for i, patch in enumerate(patches_T) if patch and not patches_T[i - 1]]
    lengths = [patches_T[start:].index(False) for start in starts]
    assert not batch.action_mask_T[torch.tensor(patches_T)].any()
    assert lengths == [7, *(hearing.tokens(round((end - start) * SAMPLE_RATE)) for start, end in tags)]
    for (start, end), place, heard in zip(tags, starts[1:], batch.clips_N[0][1:], strict=True):
        before = chat.controls.tokenizer.decode(batch.tokens_T[:place])
        assert before.endswith(f"<seg>{start}, {end}</seg><audio_start>"), "the sound stands right behind its tag"
        cut = waveform(clip)[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        with torch.no_grad():
            (rows,), (expected,) = hearing.encode([waveform(heard)]), hearing.encode([cut])
        torch.testing.assert_close(rows, expected, atol=1e-5, rtol=0)
    learned = chat.controls.tokenizer.decode(batch.tokens_T[batch.action_mask_T])
    assert learned.startswith(chain), "what is learned is what was written, without the sound"
