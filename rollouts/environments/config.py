"""The configuration of an environment, as a recipe gives it.

environment: my_game.py:step                          # your own function
environment: calculator                               # a tool that comes with the library
environment: {tools: [calculator, {tool: search, args: {file: notes.txt}}], max_turns: 4}
environment: {harness: my_agent.py:play}              # an agent of yours, which asks the policy over HTTP
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rl.config import ConfigError

NO_ENVIRONMENT = "none"
"""Name with which a stage does without the recipe's environment."""


@dataclass(frozen=True, slots=True)
class ToolConfig:
    """A tool and how it is called."""

    tool: str
    """calculator, python, search, listen, or a function of yours: file.py:fn."""
    args: dict[str, object] = field(default_factory=dict[str, object])
    """Arguments that the recipe gives, not the model."""
    tag: str | None = None
    """The tag that calls it, without brackets: `calc` for `<calc>2 + 3</calc>`. Default: the tool's own, or its name."""


@dataclass(frozen=True, slots=True)
class EnvironmentConfig:
    """Settings of an environment: a function of yours or tools that answer the policy while it writes, and their limits."""

    step: str | None = None
    """Your function, class or generator: file.py:step or pkg.mod:step. It is given the prompt and the rollout so far, and
    returns a Reply, or None where the rollout is over."""
    harness: str | None = None
    """Your agent, in place of `step`: file.py:play or pkg.mod:play. `play(prompt, base_url, api_key)` asks the policy in OpenAI's
    form at that address, and returns nothing, a reward or a Verdict. For rlvr and evaluate stages."""
    args: dict[str, object] = field(default_factory=dict[str, object])
    """Arguments of `step` or of the `harness`."""
    tools: list[str | ToolConfig] = field(default_factory=list[str | ToolConfig])
    """Tools that the policy may call, in place of `step`."""
    calls: Literal["tags", "template"] = "tags"
    """Form of calls: `tags`, `<calc>2 + 3</calc>`, answered in the same turn; or `template`, in the form of the model's own
    chat template, answered in a turn of the tool's."""
    stop: list[str] = field(default_factory=list[str])
    """Texts behind which the policy pauses and `step` is asked, beside the ends of its turns: `["</ask>"]`."""
    max_turns: int = 8
    """Most times that the policy writes in one rollout; a call in the last turn is not answered. Of a harness: questions that
    one session may ask."""
    max_turn_tokens: int | None = None
    """Tokens that the policy may write between two replies. Default: what max_sequence_tokens leaves."""
    deadline_s: float = 10.0
    """CPU seconds for one reply; then its process is killed and the sample is an error. One that waits is killed after six
    times as many seconds on the clock; a harness, which waits for the policy too, after sixty times as many."""
    memory_mb: int = 2048
    """Megabytes that one reply may allocate."""
    workers: int | None = None
    """Processes that reply side by side. Default: 1; of a harness, each of whose sessions takes one, 8."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for settings out of bounds or without meaning."""
        if sum(map(bool, (self.step, self.tools, self.harness))) != 1:
            raise ConfigError(
                f"{place}: name `step: file.py:step`, `tools: [calculator]` or `harness: file.py:play`, one of the three"
            )
        if self.harness and ":" not in self.harness:
            raise ConfigError(f"{place}.harness: '{self.harness}' is no function; write file.py:play")
        if self.harness and (self.stop or self.calls != "tags"):
            key = "stop" if self.stop else "calls"
            raise ConfigError(f"{place}.{key}: a harness says so itself in what it asks; remove it")
        if self.step and ":" not in self.step:
            raise ConfigError(
                f"{place}.step: '{self.step}' is no function; write file.py:step, or tools: [{self.step}]"
            )
        if self.tools and (self.args or self.stop):
            key = "args" if self.args else "stop"
            raise ConfigError(f"{place}.{key}: only a `step` of yours takes it; give `args` to a tool, or remove it")
        if any(not text for text in self.stop):
            raise ConfigError(f"{place}.stop: holds an empty text; remove it")
        names = [tool.tool for tool in self.tool_configs]
        if len({*names}) < len(names):
            raise ConfigError(f"{place}.tools: {', '.join(names)}: name each once")
        for key, lowest in (("max_turns", 1), ("workers", 1), ("memory_mb", 64), ("max_turn_tokens", 1)):
            value = getattr(self, key)
            if value is not None and value < lowest:
                raise ConfigError(f"{place}.{key}: {value} is too small; at least {lowest}")
        if self.tools and self.max_turns == 1:
            raise ConfigError(
                f"{place}.max_turns: a call in the last turn is not answered, so that none would be; at least 2"
            )
        if not 0 < self.deadline_s < float("inf"):
            raise ConfigError(f"{place}.deadline_s: {self.deadline_s} is not a positive number of seconds")

    @property
    def process_count(self) -> int:
        """Processes that reply side by side."""
        return self.workers or (8 if self.harness else 1)

    @property
    def tool_configs(self) -> list[ToolConfig]:
        """The tools, each with its settings."""
        return [ToolConfig(tool) if isinstance(tool, str) else tool for tool in self.tools]


def as_config(value: str | EnvironmentConfig | None, place: str) -> EnvironmentConfig | None:
    """Return the environment that a recipe's `environment:` means; None for none. Raises ConfigError."""
    if value is None or value == NO_ENVIRONMENT:
        return None
    if isinstance(value, EnvironmentConfig):
        return value
    config = EnvironmentConfig(step=value) if ":" in value else EnvironmentConfig(tools=[value])
    config.validate(place)
    return config
