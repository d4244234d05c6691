"""A model that listens, behind vLLM's own server, asked by OpenAI's own client."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ears
import pytest

from models.compose import compose
from models.hearing import clip_counter
from models.load import build, load_model, load_tokenizer, save_model
from models.settings import AudioConfig, BuildConfig, ComposeConfig
from rl.data.chat import Chat
from rl.types import AUDIO_PATCH, Clip, Message
from rl.workers.exported_chat import write_chat
from rollouts.serving import ENVIRONMENT

START_S = 480


@pytest.fixture(scope="module", params=["step_audio", "composed"])
def folder(
    tmp_path_factory: pytest.TempPathFactory, loud: Callable[[Any, int], Any], request: pytest.FixtureRequest
) -> Path:
    """With a head of its own, as released models have; composed as a run leaves it."""
    if request.param == "composed":
        parts = tmp_path_factory.mktemp("parts")
        config = ComposeConfig(str(ears.decoder(parts / "decoder", "qwen2")), str(ears.whisper(parts / "encoder")))
        made = compose(config, parts / "served", "float32", 0)
        write_chat(made, think=False)
        return made
    config = BuildConfig(hidden_size=64, layers=2, heads=2, tied=False, audio=AudioConfig(mel_bins=16, hidden_size=32))
    made = build(config, tmp_path_factory.mktemp("models") / "served", seed=0)
    model = loud(load_model(made), 0)
    save_model(model, made, dict(model.named_parameters()))
    return made


@pytest.fixture(scope="module")
def client(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from openai import APIConnectionError, OpenAI

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    variables = {**os.environ, **ENVIRONMENT, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    # `vllm serve` without its first step, which looks up the version of a distribution that CPU builds do not have
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += [
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--dtype",
        "float32",
        "--enforce-eager",
        "--max-model-len",
        "1024",
        "--served-model-name",
        "listener",
    ]
    with log.open("w") as output:
        server = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT)
    asking = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    try:
        until = time.monotonic() + START_S
        while True:
            assert server.poll() is None, log.read_text()[-3000:]
            try:
                asking.models.list()
                break
            except APIConnectionError:
                assert time.monotonic() < until, log.read_text()[-3000:]
                time.sleep(0.5)
        yield asking
    finally:
        server.terminate()
        server.wait(60)


def test_a_chat_request_with_audio_is_answered(client: Any, folder: Path, clips: list[Clip]) -> None:
    """As transformers writes greedily to the same prompt; other audio, another answer."""
    import torch
    from transformers import AutoModelForCausalLM

    from rl.audio import waveform

    chat = Chat(load_tokenizer(folder), count_audio_tokens=clip_counter(folder))
    model = AutoModelForCausalLM.from_pretrained(folder)
    answers = []
    for clip in (clips[2], clips[5]):
        sound = {"data": base64.b64encode(clip.data or b"").decode(), "format": "wav"}
        content = [{"type": "input_audio", "input_audio": sound}, {"type": "text", "text": "what is it?"}]
        reply = client.chat.completions.create(
            model="listener",
            messages=[{"role": "user", "content": content}],
            max_tokens=8,
            temperature=0,
            extra_body={"return_token_ids": True, "skip_special_tokens": False},
        )
        prompt = chat.prompt([Message("user", f"{AUDIO_PATCH}\nwhat is it?")], [clip], expand=True)
        assert reply.prompt_token_ids == prompt
        with torch.no_grad():
            ids = torch.tensor([prompt])
            sounds = model.encode([waveform(clip)])
            written = model.generate(input_ids=ids, sounds=sounds, max_new_tokens=8, do_sample=False)[0]
        assert reply.choices[0].token_ids == written[len(prompt) :].tolist()
        answers.append(reply.choices[0].token_ids)
    assert answers[0] != answers[1]
