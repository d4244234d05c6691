"""A run over two nodes, the second of which has a disk of its own where the right exists to give it one."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from ray_nodes import BIN, ray_nodes

RECIPE = """
name: two
model: {build: {hidden_size: 64, layers: 1, heads: 2}}
data: {words: {source: reasoning_gym, args: {dataset: spell_backward, size: 40}}}
reward: {parts: [{verifier: text}]}
engines: {kv_cache_mb: 64, probe: false}
trainer: {ranks: 2, zero_stage: 2}
cluster: {placement: split, spread: [policy]}
run: {retries: 0}
stages:
  - sft: {data: words, epochs: 1, sequences_per_step: 40, max_sequence_tokens: 72}
  - rlvr: {data: words, steps: 400, prompts_per_step: 2, samples_per_prompt: 2, max_sequence_tokens: 72, algorithm: grpo, checkpoint_every: 1}
"""
OWN_DISK = 'mount -t tmpfs own "$0" && exec "$@"'
"""Shell command that starts a program that sees an empty disk in place of a folder."""


def may_have_own_disk(folder: Path) -> bool:
    command = ["unshare", "-m", "sh", "-c", OWN_DISK, str(folder), "true"]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_ranks_on_two_nodes_and_a_node_that_is_lost(tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "runs" / "two"
    runs.mkdir()
    (tmp_path / "two.yaml").write_text(RECIPE)
    own_disk = may_have_own_disk(runs)
    with ray_nodes(cpus=2) as nodes:
        before = ["unshare", "-m", "sh", "-c", OWN_DISK, str(runs)] if own_disk else []
        env = nodes.env | {"RAY_ADDRESS": nodes.address, "OMP_NUM_THREADS": "1"}
        until_joined = [str(BIN / "rl"), "jobs", "await-nodes", "1", "--timeout", "120"]
        subprocess.run(until_joined, env=env, check=True, capture_output=True)
        second = nodes.start(f"--address={nodes.address}", "--num-cpus=1", before=before)
        until_joined[3] = "2"
        assert subprocess.run(until_joined, env=env, capture_output=True).returncode == 0, nodes.log()

        command = [str(BIN / "rl"), "run", str(tmp_path / "two.yaml"), "--out", str(out)]
        run = subprocess.Popen(
            command, env=env, text=True, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        until = time.monotonic() + 240
        while not list(out.glob("stages/*/checkpoints/step-000002")):
            assert time.monotonic() < until, run.kill() or run.communicate()
            assert run.poll() is None, run.communicate()
            time.sleep(0.2)
        # Another run meanwhile is told who has the devices, and ends where it does not want to wait for them.
        elsewhere = [*command[:3], "--out", str(tmp_path / "runs" / "other"), "cluster.wait_s=3", "trainer.ranks=1"]
        other = subprocess.run(elsewhere, env=env, capture_output=True, text=True, cwd=tmp_path, timeout=200)
        assert run.poll() is None, run.communicate()
        nodes.kill(second)
        output, errors = run.communicate(timeout=200)

    assert other.returncode == 2, other.stderr
    assert f"; {out} holds 3 CPUs" in other.stdout, other.stdout
    line = other.stderr.splitlines()[-1]
    assert line.startswith("error: cluster: waited 3 s in vain: waiting for 2 CPUs; free now: 0 CPUs; "), other.stderr
    lines = output.splitlines()
    (placement,) = [line for line in lines if line.startswith("placement: ")]
    first, second_node = placement.split("; ")
    assert first.endswith(": engine 0, policy 0"), placement
    assert second_node.endswith(": policy 1"), placement
    assert any("not share" in line for line in lines) == own_disk, output
    # What both ranks wrote is here, whole: the manifest was written on this side.
    checkpoint = max(out.glob("stages/*/checkpoints/step-*"))
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    assert sum("optimizer" in name for name in manifest) == 2, manifest
    assert all(os.path.isfile(checkpoint / name) for name in manifest)
    assert (out / "stages" / "01-sft" / "model" / "model.safetensors").is_file()
    assert run.returncode == 2, errors
    assert errors.splitlines()[-1].startswith("error: "), errors
    assert "the policy's rank 1" in errors, errors
