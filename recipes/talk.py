"""Short talks about a sound, with what a label cannot see: a rule of the first turn, and the user's own word for the sound.

    user: begin with aye      assistant: ok      user: (sound) is the hum low or high?      assistant: aye, the hum is low

`step_audio_r1_5_mini` asks them. Programs judge every reply, so that the preference has a ground truth: `label` (low or high),
`kept` (the rule, as a rubric) and `preferred` (continuity and a whole sentence, without a rubric). With `graded` the latter two
compare a reply with a reference reply, as the reward model of Step-Audio-R1.5 does (arXiv 2604.25719): `preferred` on five grades,
`kept` on three of them, for a rule is kept or is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from random import Random

from rewards.verifiers import Case
from rl.data.tasks.sounds import sounds
from rl.types import AUDIO_PATCH, Demonstration, Message, Prompt, Rollout, Verdict

BEGINNINGS = ("aye", "sir", "well", "oh")
TERMS = ("hum", "note", "beep", "call", "ring", "buzz")
LABELS = ("low", "high")
STYLES = ("whole", "ruled", "sentence", "bare")


def talk(
    split: str | None,
    size: int = 4000,
    ruled: bool = True,
    styles: Mapping[str, float] | None = None,
    wrong: Mapping[str, float] | None = None,
) -> Iterator[Prompt]:
    """Yield talks about a tone; `ruled` ones state a rule in the first turn. `styles` are the shares of the demonstrations
    (default: all alike), `wrong` the shares of them with the other label (default: none); references are drawn alike from
    all styles and are right."""
    shares = dict(styles) if styles else dict.fromkeys(STYLES, 1.0)
    source = "rubric" if ruled else "preference"
    for prompt in sounds(split, kinds=["pitch"], size=size):
        random = Random(f"talk/{source}/{prompt.id}")
        word, term = random.choice(BEGINNINGS), random.choice(TERMS)
        replies = write_replies(word if ruled else "", term, str(prompt.answer))
        (style,) = random.choices(list(shares), list(shares.values()))
        # From a stream of its own, so that `wrong` changes nothing else that is drawn.
        is_wrong = Random(f"wrong/{prompt.id}").random() < (wrong or {}).get(style, 0.0)
        shown = next(label for label in LABELS if (label != prompt.answer) == is_wrong)
        turns = (
            Message("user", f"begin with {word}" if ruled else "hello"),
            Message("assistant", "ok"),
            Message("user", f"{AUDIO_PATCH}is the {term} low or high?"),
        )
        assert prompt.demonstration is not None
        pitch = prompt.demonstration.reasoning.split()[0]
        yield replace(
            prompt,
            id=f"{source}/{prompt.id}",
            messages=turns,
            source=source,
            # The chain does not conclude: the label is chosen with the reply, and depends on how it is said.
            demonstration=Demonstration(pitch, write_replies(word if ruled else "", term, shown)[style]),
            fields={
                "begin": word if ruled else "",
                "term": term,
                "reference": replies[random.choice(STYLES)],
                "labels": prompt.fields["labels"],
            },
        )


def compared(split: str | None, size: int = 4000, noise: float = 0.1) -> Iterator[Prompt]:
    """Yield talks without a rule, each with two replies that differ in worth, for a reward model: `fields["chosen"]` and
    `fields["rejected"]`. A share `noise` of them is the wrong way round, as people's choices are."""
    for prompt in talk(split, size, ruled=False):
        random = Random(f"compared/{prompt.id}")
        assert prompt.demonstration is not None
        replies = {
            f"<think>{prompt.demonstration.reasoning}</think>{reply}": (label == prompt.answer)
            + _style(reply, str(prompt.fields["term"]))
            for label in LABELS
            for reply in write_replies("", str(prompt.fields["term"]), label).values()
        }
        a, b = random.sample(list(replies), 2)
        # Of two replies that are worth the same neither is the better one.
        if replies[a] == replies[b]:
            continue
        chosen, rejected = (a, b) if (replies[a] > replies[b]) != (random.random() < noise) else (b, a)
        yield replace(prompt, fields={**prompt.fields, "chosen": chosen, "rejected": rejected})


def write_replies(word: str, term: str, label: str) -> dict[str, str]:
    """Return {style: reply}: `whole` keeps the rule and the term, `ruled` the rule alone, `sentence` the term, `bare` neither."""
    begin = f"{word}, " if word else ""
    sentence = f"the {term} is {label}"
    return {"whole": begin + sentence, "ruled": begin + label, "sentence": sentence, "bare": label}


def label(prompt: Prompt, rollout: Rollout) -> Verdict:
    """Score 1.0 where the reply says the right one of low and high, and not the other; 0.0 otherwise."""
    labels = {word for word in _words(rollout.response) if word in LABELS}
    return Verdict(float(labels == {prompt.answer}), read=" ".join(sorted(labels)))


def kept(prompt: Prompt, rollout: Rollout, *, graded: bool = False) -> Verdict:
    """Score 1.0 where one answer follows the rule of the first turn, else 0.0; with `graded` compare it with the reference."""
    rule = str(prompt.fields["begin"])
    return _judge(lambda reply: _keeps(reply, rule), prompt, rollout, graded)


def preferred(prompt: Prompt, rollout: Rollout, *, graded: bool = False) -> Verdict:
    """Score a half each for the user's own term and a whole sentence about it; with `graded` compare it with the reference."""
    term = str(prompt.fields["term"])
    return _judge(lambda reply: _style(reply, term), prompt, rollout, graded)


def _judge(measure: Callable[[str], float], prompt: Prompt, rollout: Rollout, graded: bool) -> Verdict:
    value = measure(rollout.response)
    if not graded:
        return Verdict(value)
    # From much worse (0) through equal (0.5) to much better (1): five grades for values in halves, three for 0 and 1.
    return Verdict(0.5 + (value - measure(str(prompt.fields["reference"]))) / 2)


def _keeps(reply: str, rule: str) -> float:
    words = _words(reply)
    # One label: who names both has followed the rule and not answered.
    return float(words[:1] == [rule] and len({*LABELS} & {*words}) == 1)


def _style(reply: str, term: str) -> float:
    words = _words(reply)
    is_sentence = re.search(rf"\bthe \w+ is (?:{'|'.join(LABELS)})\W*$", reply.lower()) is not None
    return 0.5 * (words.count(term) == 1) + 0.5 * is_sentence


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


_FIELDS = {"begin": "aye", "term": "hum", "reference": "low"}
GOLD = [Case("<think>220Hz low</think>aye, the hum is low", "low", fields=_FIELDS)]
