"""A checkpoint of verl's is a model: its shards are merged without running code in them, or verl's command is named."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.folder import check_whole, folder_of, on_disk
from models.load import build
from models.settings import BuildConfig

SHARDS = """
import sys, torch
from torch.distributed import destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from safetensors.torch import load_file
for replicas, out in ((1, sys.argv[2]), (2, sys.argv[3])):
    init_process_group("fake", store=FakeStore(), rank=0, world_size=3 * replicas)
    shape, names = ((3,), ("fsdp",)) if replicas == 1 else ((replicas, 3), ("ddp", "fsdp"))
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
    placements = [Replicate()] * (len(shape) - 1) + [Shard(0)]
    for rank in range(3 * replicas):
        state = {}
        for name, tensor in load_file(sys.argv[1] + "/model.safetensors").items():
            pieces = torch.chunk(tensor, 3)
            piece = pieces[rank % 3] if rank % 3 < len(pieces) else tensor[:0]
            cut = {"run_check": False, "shape": tensor.shape, "stride": tensor.stride()}
            state[name] = DTensor.from_local(piece.clone(), mesh, placements, **cut)
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
        torch.save(state, f"{out}/model_world_size_{3 * replicas}_rank_{rank}.pt")
    destroy_process_group()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(BuildConfig(hidden_size=64, layers=1, heads=2), tmp_path_factory.mktemp("model"), 0)


@pytest.fixture
def checkpoint(tmp_path: Path, model: Path) -> Path:
    """`global_step_1` with a configuration, and no weights yet."""
    whole = tmp_path / "global_step_1" / "actor" / "huggingface"
    whole.mkdir(parents=True)
    for file in model.iterdir():
        if file.suffix != ".safetensors":
            (whole / file.name).write_bytes(file.read_bytes())
    return tmp_path / "global_step_1"


def test_shards_are_merged(checkpoint: Path, model: Path) -> None:
    """Also where a second dimension of the mesh holds copies."""
    copies = checkpoint.parent / "copies"
    shutil.copytree(checkpoint, copies)
    actors = [folder / "actor" for folder in (checkpoint, copies)]
    subprocess.run([sys.executable, "-c", SHARDS, str(model), *map(str, actors)], check=True)
    expected = load_file(model / "model.safetensors")
    for folder, actor in zip((checkpoint, copies), actors, strict=True):
        check_whole(folder)
        assert folder_of(str(folder)) == actor / "huggingface"  # for plans: nothing is merged yet
        merged = on_disk(str(folder))
        assert merged == actor / "merged"
        assert folder_of(str(folder)) == folder_of(str(actor)) == merged
        stored = load_file(merged / "model.safetensors")
        assert stored.keys() == expected.keys()
        assert all(torch.equal(stored[name], expected[name]) for name in expected)
        check_whole(merged)
    (actors[0] / "merged" / "model.safetensors").unlink()
    (actors[0] / "model_world_size_3_rank_2.pt").unlink()
    with pytest.raises(ValueError, match="lacks the shard of rank 2 of 3; copy the whole checkpoint"):
        check_whole(checkpoint)


def test_a_merged_folder_without_weights_is_no_model(checkpoint: Path) -> None:
    actor = checkpoint / "actor"
    merged = actor / "merged"
    torch.save({"a": torch.ones(2)}, actor / "model_world_size_1_rank_0.pt")
    merged.mkdir()
    (merged / "config.json").write_text("{}")
    line = f"{merged} holds no weights (*.safetensors); remove it, and the shards are merged there"
    for check in (check_whole, lambda folder: on_disk(str(folder))):
        with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
            check(checkpoint)
    (merged / "config.json").unlink()  # an empty folder is filled
    assert on_disk(str(checkpoint)) == merged
    assert load_file(merged / "model.safetensors")["a"].tolist() == [1.0, 1.0]
    assert not list(actor.glob(".merged*"))


def test_a_whole_model_in_a_checkpoint(checkpoint: Path, model: Path) -> None:
    whole = checkpoint / "actor" / "huggingface"
    (whole / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    check_whole(checkpoint)
    assert on_disk(str(checkpoint)) == whole


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path("pwned"),)


def test_what_is_not_merged_names_the_command(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint)
    actor = checkpoint / "actor"
    command = (
        r"merge it: python -m verl.model_merger merge --backend {} --local_dir \S+actor --target_dir \S+actor/merged"
    )
    with pytest.raises(ValueError, match="holds no shards of FSDP; " + command.format("fsdp")):
        check_whole(checkpoint)
    (actor / "dist_ckpt").mkdir()
    with pytest.raises(ValueError, match=command.format("megatron")):
        check_whole(checkpoint)
    shard = actor / "model_world_size_1_rank_0.pt"
    shard.write_bytes(pickle.dumps({"a": Hostile()}))
    for content in (pickle.dumps({"a": Hostile()}), b"", b"PK\x03\x04 cut short"):
        shard.write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read without running code in it .*" + command.format("fsdp")):
            on_disk(str(checkpoint))
    torch.save({"a": Hostile()}, shard)
    with pytest.raises(ValueError, match="cannot be read without running code in it"):
        on_disk(str(checkpoint))
    assert not (checkpoint / "pwned").exists()
    torch.save({"base_model.model.lora_A.weight": torch.ones(1)}, shard)
    with pytest.raises(ValueError, match="holds an adapter of LoRA"):
        on_disk(str(checkpoint))
    assert not list(actor.glob(".merged*"))
