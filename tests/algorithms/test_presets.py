from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from rl.algorithms.advantages import ADVANTAGES
from rl.algorithms.objective import Importance, Objective
from rl.algorithms.policy_losses import POLICY_LOSSES, ppo_clip
from rl.algorithms.presets import ALGORITHMS, check_imports, columns, objective
from rl.algorithms.registry import resolve
from rl.config import ConfigError
from rl.stages.rlvr.config import Config


def test_registries_are_readable_without_torch():
    code = "import sys, rl.algorithms.presets; print([m for m in ('torch', 'ray', 'transformers') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_preset_is_valid_and_needs_no_reference(name: str):
    preset = objective(name, {}, "algorithm")
    assert preset.kl_coef == 0
    assert preset.critic == (name == "ppo")
    assert preset.advantage in ADVANTAGES
    assert preset.policy_loss in POLICY_LOSSES


def test_ppo_is_step_audio_r1():
    ppo = objective("ppo", {}, "algorithm")
    assert ppo == Objective()
    assert (ppo.clip_low, ppo.clip_high, ppo.gamma, ppo.lam, ppo.kl_coef) == (0.2, 0.2, 1.0, 1.0, 0.0)
    assert ppo.critic
    assert ppo.whiten


def test_setting_a_kl_coefficient_alone_gives_the_papers_kl():
    grpo = objective("grpo", {"kl_coef": 0.04}, "algorithm")
    assert (grpo.kl_in, grpo.kl_estimator, grpo.kl_coef) == ("loss", "k3", 0.04)


def test_icepop_is_the_papers():
    icepop = objective("icepop", {}, "algorithm")
    assert icepop.correction == Importance("token", low=0.5, high=5.0, outside="mask")
    assert icepop.normalise == "sequence_mean"
    table = {"low": 0.5, "high": 5, "outside": "mask"}
    assert objective("grpo", {"importance": table}, "algorithm") == icepop
    assert objective("grpo", {"importance_cap": [0.5, 5]}, "algorithm").correction == icepop.correction


@pytest.mark.parametrize("algorithm", ["grpo", "icepop", "ppo"])
@pytest.mark.parametrize(
    ("overrides", "correction"),
    [
        ({"importance_cap": 2}, Importance("token", high=2.0, outside="clip")),
        ({"importance_cap": [0.5, 2]}, Importance("token", low=0.5, high=2.0, outside="mask")),
        ({"importance": {"high": 2}}, Importance("token", high=2.0, outside="clip")),
        ({"importance": {"level": "sequence", "low": 0.1}}, Importance("sequence", low=0.1, outside="clip")),
        ({"importance": None, "importance_cap": 3}, Importance(high=3.0)),
        ({"importance": {"high": 3}, "importance_cap": None}, Importance(high=3.0)),
        ({"importance": None}, None),
        ({"importance_cap": None}, None),
    ],
)
def test_the_table_and_its_short_form(algorithm, overrides, correction):
    """Either takes the place of the preset's."""
    assert objective(algorithm, overrides, "algorithm").correction == correction


def test_overrides_are_on_top():
    built = objective("dapo", {"clip_high": "1e-1", "importance_cap": 2}, "algorithm")
    assert (built.clip_low, built.clip_high, built.importance_cap) == (0.2, 0.1, 2.0)


@pytest.mark.parametrize(
    ("name", "overrides", "line"),
    [
        ("grop", {}, "a: unknown algorithm 'grop'; did you mean 'grpo'?"),
        ("ppo", {"clip": 0.2}, "a: unknown key 'clip'; did you mean 'clip_low'?"),
        ("ppo", {"gamma": 1.5}, "a.gamma: got 1.5; it must lie in [0, 1]"),
        ("ppo", {"lam": float("nan")}, "a.lam: nan is not a finite number"),
        ("ppo", {"dual_clip": 1}, "a.dual_clip: got 1.0; it must be above 1, or null for none"),
        ("ppo", {"critic": False}, "a.critic: got False; advantage 'gae' needs values; set critic: true"),
        ("grpo", {"critic": True}, "a.critic: advantage 'grpo' reads no values; set critic: false"),
        ("gspo", {"dual_clip": 3}, "a.dual_clip: got 3.0; only policy_loss: ppo_clip has one"),
        (
            "grpo",
            {"kl_coef": 0.1, "kl_estimator": "k1"},
            "a.kl_estimator: got k1; in the loss its gradient has mean zero; set k2 or k3, or kl_in: reward",
        ),
        (
            "ppo",
            {"importance_cap": 0},
            "a.importance_cap: got 0.0; it must be a number of at least 1, a pair [low, high] around 1, or null",
        ),
        (
            "ppo",
            {"importance_cap": 0.5},
            "a.importance_cap: got 0.5; it must be a number of at least 1, a pair [low, high] around 1, or null",
        ),
        (
            "ppo",
            {"importance_cap": [2, 5]},
            "a.importance_cap: got (2.0, 5.0); it must be a number of at least 1, a pair [low, high] around 1, or null",
        ),
        ("ppo", {"importance_cap": [0.5]}, "a.importance_cap: expected a list of 2; got [0.5]"),
        ("ppo", {"importance": 2}, "a.importance: expected a mapping of level, low, high, outside; got 2"),
        ("ppo", {"importance": {"outsides": "mask"}}, "a.importance: unknown key 'outsides'; did you mean 'outside'?"),
        ("ppo", {"importance": {"level": "seq", "high": 2}}, "a.importance.level: 'seq' is not allowed;"),
        ("ppo", {"importance": {}}, "a.importance.high: got null; nothing is bounded; set high, such as 2.0, or low"),
        ("ppo", {"importance": {"low": 0, "outside": "mask"}}, "a.importance.high: got null; nothing is bounded;"),
        (
            "ppo",
            {"importance": {"low": 1.5, "high": 2}},
            "a.importance.low: got 1.5; it must lie in [0, 1], where 0 means",
        ),
        ("ppo", {"importance": {"low": -1, "high": 2}}, "a.importance.low: got -1.0; it must lie in [0, 1],"),
        ("ppo", {"importance": {"high": 0.5}}, "a.importance.high: got 0.5; it must be at least 1, or null for no"),
        ("ppo", {"importance": {"high": float("inf")}}, "a.importance.high: inf is not a finite number; give one"),
        (
            "ppo",
            {"importance": {"low": 1, "high": 1}},
            "a.importance.high: got 1.0; low is 1 too; leave room between them",
        ),
        (
            "ppo",
            {"importance": {"level": "geometric", "high": 2}},
            "a.importance.outside: got clip; a geometric mean weighs nothing; set outside: mask",
        ),
        (
            "icepop",
            {"importance": {"low": 0.5, "outside": "mask"}, "importance_cap": 2},
            "a.importance_cap: got 2.0; importance says it too: {level: token, low: 0.5, high: null, outside: mask}; remove "
            "one of them",
        ),
        (
            "grpo",
            {"importance": {"high": 2}, "policy_loss": "nll"},
            "a.importance: got {level: token, low: 0, high: 2, outside: clip}; nll has no engine; remove it",
        ),
        (
            "rloo",
            {"advantage": "grop"},
            "a.advantage: 'grop' is neither a built-in name nor `pkg.mod:fn`; did you mean 'grpo'?",
        ),
        (
            "rloo",
            {"policy_loss": "no.such:fn"},
            "a.policy_loss: no module 'no' to import; is the folder of 'no.such:fn' on the Python path?",
        ),
        ("rloo", {"policy_loss": ":fn"}, "a.policy_loss: ':fn' is neither a built-in name nor `pkg.mod:fn`; known: "),
        ("rloo", {"policy_loss": "json:dump_s"}, "a.policy_loss: /"),
        ("rloo", {"policy_loss": "os:nope"}, "a.policy_loss: /"),  # it imports names by *, and is imported
        ("rloo", {"advantage": "json:dumps"}, "a.advantage: dumps(obj) must take (batch, objective) and no more"),
    ],
)
def test_mistakes_name_place_and_fix(name: str, overrides: dict[str, object], line: str):
    with pytest.raises(ConfigError) as caught:
        objective(name, overrides, "a")
    assert str(caught.value).startswith(line)


def test_an_outsiders_function_by_dotted_path(tmp_path, monkeypatch):
    (tmp_path / "their_losses.py").write_text(
        "import sys\nfrom json import *\nsys.modules['loaded_theirs'] = sys\nnumber = 3\n"
        "def half(logprobs, batch, objective, scale=0.5): return scale\n"
        "def keyed(logprobs, batch, objective, *, scale): ...\n"
        "few = lambda logprobs: ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    objective("grpo", {"policy_loss": "their_losses:half"}, "a")
    assert "loaded_theirs" not in sys.modules, "checking must not import it"
    half = resolve("their_losses:half", POLICY_LOSSES, "policy_loss")
    assert half(None, None, None) == 0.5  # type: ignore[arg-type]
    assert resolve("ppo_clip", POLICY_LOSSES, "policy_loss") is ppo_clip
    with pytest.raises(ConfigError, match="has no attribute 'third'"):
        resolve("their_losses:third", POLICY_LOSSES, "policy_loss")
    with pytest.raises(
        ConfigError, match=r"keyed\(logprobs, batch, objective, scale\) must take \(logprobs, batch, obj"
    ):
        objective("grpo", {"policy_loss": "their_losses:keyed"}, "a")


def test_what_only_an_import_shows_is_told_before_the_first_step(tmp_path, monkeypatch):
    (tmp_path / "their_names.py").write_text(
        "from json import *\nnumber = 3\nfew = lambda logprobs: ...\ndef whole(batch, objective): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    check_imports(objective("grpo", {"advantage": "their_names:whole"}, "a"), "a")
    for name, says in {
        "third": r"a.policy_loss 'their_names:third': module 'their_names' has no attribute 'third'; write it as",
        "number": r"a.policy_loss 'their_names:number' is not a function; name one",
        "few": r"a.policy_loss 'their_names:few': too many positional arguments; it is called with \(logprobs, batch, ob",
    }.items():
        sys.modules.pop("their_names", None)
        goal = objective("grpo", {"policy_loss": f"their_names:{name}"}, "a")  # by * it may have any name
        with pytest.raises(ConfigError, match=says):
            check_imports(goal, "a")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            "import json\njson.lods\n",
            "its module raises AttributeError: module 'json' has no attribute 'lods'; mend it",
        ),
        (
            "import no_such_library\n",
            "its module raises ModuleNotFoundError: No module named 'no_such_library'; mend it",
        ),
        (None, "No module named 'their_broken'; write it as `pkg.mod:fn`"),
    ],
)
def test_a_module_that_fails_is_told_from_a_wrong_name(tmp_path, monkeypatch, source: str | None, says: str):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_broken", raising=False)
    if source is not None:
        (tmp_path / "their_broken.py").write_text(source)
    with pytest.raises(ConfigError) as caught:
        resolve("their_broken:loss", POLICY_LOSSES, "policy_loss")
    assert str(caught.value) == f"policy_loss 'their_broken:loss': {says}"


# --- which columns of a batch an algorithm reads --------------------------------------------------------------------


def test_ours_need_no_pass_before_a_single_update() -> None:
    assert columns(objective("ppo", {}, "a")) == frozenset()
    assert columns(objective("grpo", {"kl_coef": 0.04}, "a")) == {"ref"}
    assert columns(objective("ppo", {"kl_coef": 0.04}, "a")) == {"ref", "old"}, (
        "KL in the reward is taken before the update"
    )


THEIRS = """
from rl.algorithms.advantages import gae_advantages

def td(batch, objective):
    return _td(batch)

def _td(batch):
    return batch.add(advantages=batch.rewards_A - batch.values_A, returns=batch.rewards_A)

def surprise(batch, objective):
    return batch.add(advantages=batch.rewards_A - batch.old_A)

def anchored(batch, objective):
    return batch.add(advantages=batch.rewards_A - batch.ref_A)
"""


def test_an_advantage_that_reads_values_needs_a_critic(tmp_path, monkeypatch):
    (tmp_path / "their_advantages.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(str(tmp_path))
    with_critic = {"advantage": "their_advantages:td", "critic": True}
    assert objective("grpo", with_critic, "a").critic
    with pytest.raises(ConfigError) as caught:
        objective("grpo", {"advantage": "their_advantages:td"}, "a")
    message = "a.critic: got False; advantage 'their_advantages:td' needs values; set critic: true"
    assert str(caught.value) == message


def test_what_an_advantage_reads_is_computed_before_it(tmp_path, monkeypatch):
    """One that read `old_A` passed every check and ended a run at its first step."""
    (tmp_path / "their_advantages.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "old" in columns(objective("grpo", {"advantage": "their_advantages:surprise"}, "a"))
    assert columns(objective("grpo", {"advantage": "their_advantages:anchored"}, "a")) == {"old", "ref"}
    config = Config("words", algorithm="grpo", objective={"advantage": "their_advantages:anchored"})
    assert config.roles == {"engine", "policy", "reference"}
    monkeypatch.delitem(sys.modules, "their_advantages", raising=False)
    monkeypatch.setitem(ADVANTAGES, "surprise", importlib.import_module("their_advantages").surprise)
    assert columns(objective("grpo", {"advantage": "surprise"}, "a")) == {"old"}, "one of ours would be read too"
