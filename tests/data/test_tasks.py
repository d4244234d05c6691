from pathlib import Path

import pytest
from real_data import DATA, real

from rl.config import ConfigError
from rl.data.inspection import inspect
from rl.data.rows import rank, split_of
from rl.data.sources import DataConfig, load
from rl.data.tasks import COUNTS, TASKS, procedural, summary
from rl.data.tasks.procedural import COMPACT, Item
from rl.types import Demonstration, Message, Prompt

GSM8K = DATA / "gsm8k"
SPLITS = ("train", "validation", "test")


def words(path: object, split: str | None = None, **args: object) -> list[Prompt]:
    return load(DataConfig("words", args={"path": path, **args}), split)


def gym(split: str | None = None, **args: object) -> list[Prompt]:
    return load(DataConfig("reasoning_gym", args=args), split)


@pytest.fixture
def text(tmp_path: Path) -> str:
    file = tmp_path / "train.jsonl"
    file.write_text('{"question": "An Apple, why?", "solution": "It\'s apple2apple: rhythm <<1+1=2>>"}\n')
    return str(file)


def test_a_text_has_one_split_forever():
    assert [split_of(word) for word in ("apple", "why", "rhythm", "grady")] == ["train", "train", "train", "train"]
    assert rank("apple") == pytest.approx(int("3a7bd3e2360a", 16) / 2**48)  # head of `echo -n apple | sha256sum`
    shares = [sum(split_of(str(i)) == split for i in range(5000)) / 5000 for split in SPLITS]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


def test_words_by_hand(text: str):
    prompts = {prompt.id: prompt for prompt in words(text)}
    assert {p.partition("/")[2] for p in prompts} == {"apple", "why", "rhythm"}
    assert prompts["reverse/apple"] == Prompt(
        id="reverse/apple",
        messages=(Message("user", "reverse: apple"),),
        answer="elppa",
        source="reverse",
        demonstration=Demonstration("1a2p3p4l5e", "elppa"),
    )
    assert prompts["sort/apple"].demonstration == Demonstration("aelp", "aelpp")
    assert prompts["vowels/apple"].demonstration == Demonstration("0a1e2", "2")
    assert prompts["vowels/rhythm"].demonstration == Demonstration("0", "0")


def test_words_are_chosen_by_length_task_and_number(text: str):
    assert {p.question for p in words(text, min_letters=1, max_letters=2, tasks=["sort"])} == {
        f"sort: {word}" for word in ("an", "it", "s")
    }
    first = words(text, limit_words=1)
    assert [p.source for p in first] == ["reverse", "sort", "vowels"]
    assert first == words(text)[:3]
    [vowels] = words(text, tasks=["vowels"], limit_words=1, columns=["question"], min_letters=5)
    assert vowels.id == "vowels/apple"


@real
@pytest.mark.parametrize(("files", "count"), [(["train.jsonl"], 10_518), (["train.jsonl", "test.jsonl"], 11_102)])
def test_the_words_of_gsm8k(files: list[str], count: int):
    paths = [str(GSM8K / name) for name in files]
    parts = {split: words(paths, split) for split in SPLITS}
    words_of = {split: {p.id.partition("/")[2] for p in prompts} for split, prompts in parts.items()}
    assert sum(map(len, words_of.values())) == len(set.union(*words_of.values())) == count
    assert len(words_of["train"]) / count == pytest.approx(0.8, abs=0.01)
    config = DataConfig("words", args={"path": paths})
    for split, prompts in parts.items():
        assert len(prompts) == 3 * len(words_of[split]) == inspect(config, split).rows
    for prompt in (p for prompts in parts.values() for p in prompts):
        task, _, word = prompt.id.partition("/")
        expected = {"reverse": word[::-1], "sort": "".join(sorted(word)), "vowels": str(len(word_vowels(word)))}[task]
        assert prompt.answer == expected
        assert prompt.demonstration is not None
        assert prompt.demonstration.response == expected
        assert prompt.demonstration.reasoning
    assert {p.id for p in words(paths)} == {p.id for prompts in parts.values() for p in prompts}


def word_vowels(word: str) -> list[str]:
    return [letter for letter in word if letter in "aeiou"]


@real
def test_more_text_moves_no_word_to_another_split():
    both = {p.id for p in words([str(GSM8K / name) for name in ("train.jsonl", "test.jsonl")], "test")}
    assert {p.id for p in words(str(GSM8K / "train.jsonl"), "test")} < both
    assert {p.id for p in words(str(GSM8K), "test")} == both  # a folder: its train.jsonl and test.jsonl


def test_mistakes_with_words_are_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GROUNDTONE_DATA", raising=False)
    for args, message in [
        ({"path": text, "tasks": ["revers"]}, "words.tasks: no task 'revers'; did you mean 'reverse'?"),
        ({"path": text, "min_letters": 9, "max_letters": 3}, "words: min_letters 9 and max_letters 3 leave no word"),
        ({"path": text, "columns": ["body"]}, f"{text}:1: no column 'body'; known: question, solution"),
        ({"path": "/no/file"}, "words.path: no such file: /no/file; correct the path"),
        (
            {"path": "$GROUNDTONE_DATA/x"},
            "words.path: $GROUNDTONE_DATA/x is in the folder that GROUNDTONE_DATA names; set it, for",
        ),
        ({"path": str(tmp_path / "empty")}, f"words.path: {tmp_path}/empty holds no train.jsonl; name the jsonl files"),
        ({"path": text, "max_letters": 20, "min_letters": 19}, "data: words holds no prompts; check it"),
    ]:
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=r".") as caught:
            load(DataConfig("words", args=args))
        assert str(caught.value).startswith(message)
    with pytest.raises(ValueError, match=r"^words: no split 'dev'; there are train, validation, test$"):
        words(text, "dev")
    [problem] = inspect(DataConfig("words", args={"path": "/no/file"})).problems
    assert problem == "words.path: no such file: /no/file; correct the path"


def test_spell_backward_needs_no_files_and_keeps_its_splits_apart():
    parts = {split: gym(split, size=2000) for split in SPLITS}
    ids = [p.id for prompts in parts.values() for p in prompts]
    assert len(set(ids)) == len(ids) == len(gym(size=2000))
    assert [len(p) / len(ids) for p in parts.values()] == pytest.approx([0.8, 0.1, 0.1], abs=0.03)
    for prompt in parts["train"]:
        word = prompt.id.removeprefix("spell_backward/")
        chain = "".join(f"{i}{letter}" for i, letter in enumerate(word, 1))
        assert (prompt.question, prompt.answer) == (f"reverse: {word}", word[::-1])
        assert prompt.demonstration == Demonstration(chain, word[::-1])
    other_seed = {p.id for p in gym("train", size=2000, seed=1)}
    assert len(other_seed & {p.id for p in parts["train"]}) < 100
    assert not other_seed & {p.id for split in ("validation", "test") for p in parts[split]}
    assert gym("test", size=2000) == parts["test"]


def test_letter_counting_and_chain_sum_do_their_work():
    for prompt in gym(dataset="letter_counting", size=200, config={"min_words": 1, "max_words": 2}):
        letter, _, span = prompt.question.removeprefix("count ").partition(": ")
        assert prompt.answer == str(span.count(letter))
        expected = "0" + "".join(f"{letter}{i + 1}" for i in range(span.count(letter)))
        assert prompt.demonstration == Demonstration(expected, prompt.answer)
    config = {"min_digits": 1, "max_digits": 1, "max_terms": 4}
    for prompt in gym(dataset="chain_sum", size=200, config=config):
        assert prompt.demonstration is not None
        assert prompt.answer == str(eval(prompt.question)) == prompt.demonstration.response
        assert prompt.demonstration.reasoning.split()[-1] == prompt.answer
        assert prompt.demonstration.reasoning.split()[0] == prompt.question[0]
    item = COMPACT["chain_sum"]({"metadata": {"expression": "7 - 4 + 12"}, "answer": "15"})
    assert item == Item("7-4+12", "7-4+12", "15", "7 3 15")


def test_any_other_dataset_keeps_its_question_and_its_entry():
    import reasoning_gym

    for prompt in (
        gym("train", dataset="gcd", size=20, template="gcd {numbers_text}")
        if False
        else gym("train", dataset="gcd", size=20)
    ):
        assert prompt.demonstration is None
        assert prompt.question.startswith("Find the Greatest Common Divisor")
        dataset = reasoning_gym.create_dataset("gcd", seed=0, size=1)
        assert dataset.score_answer(prompt.answer, prompt.fields["entry"]) == 1.0
    [prompt, *_] = gym(dataset="spell_backward", size=5, template="Spell {word} backward.")
    assert prompt.question.startswith("Spell ")
    assert prompt.demonstration is not None


def test_mistakes_with_reasoning_gym_are_one_line():
    for args, message in [
        ({"dataset": "spell_backwards"}, "reasoning_gym.dataset: no dataset 'spell_backwards'; did you mean 'spell_b"),
        ({"config": {"max_len": 3}}, "reasoning_gym.config: spell_backward has no setting 'max_len'; "),
        (
            {"config": {"min_word_len": 0}},
            "reasoning_gym.config: spell_backward: min_word_len must be positive",
        ),
        ({"template": "{wrd}"}, "reasoning_gym: spell_backward item 0: the template's {wrd} is no column; did you"),
        ({"template": "{}"}, "reasoning_gym.template: only plain {column} names are filled in"),
        ({"size": "many"}, "data.args.size: expected a whole number; got 'many'"),
    ]:
        with pytest.raises(ValueError, match=r".") as caught:
            load(DataConfig("reasoning_gym", args=args))
        assert str(caught.value).startswith(message)
    (problem,) = inspect(DataConfig("reasoning_gym", args={"dataset": "gdc"})).problems
    assert problem == "reasoning_gym.dataset: no dataset 'gdc'; did you mean 'gcd'?"
    with pytest.raises(ConfigError):
        gym(config={"min_word_len": "x"})


def test_the_names_of_reasoning_gym_are_read_without_importing_it():
    import reasoning_gym  # noqa: F401
    from reasoning_gym.factory import DATASETS

    assert sorted(procedural._dataset_names()) == sorted(DATASETS)


def test_the_registry_tells_what_there_is():
    assert set(COUNTS) == set(TASKS)
    for name, task in TASKS.items():
        line = summary(task)
        assert line.endswith("."), name
        assert len(line) < 120
    assert inspect(DataConfig("reasoning_gym", args={"size": 1000}), "validation").rows == 100
    assert inspect(DataConfig("reasoning_gym", args={"size": 1000})).rows == 1000
