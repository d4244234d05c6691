"""Checks an environment before anything starts. A user's code is not executed: its source is read, not imported."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from rewards.resolve import find_source
from rl import functions
from rl.config import ConfigError, did_you_mean
from rollouts.environments.config import EnvironmentConfig
from rollouts.environments.tool import BY_NAME, IN_TREE, list_tools, tag_of


def check_environment(config: EnvironmentConfig, place: str, folder: Path | None) -> None:
    """Raise ConfigError if an environment names no function, or one that does not take the arguments it will be
    given."""
    if config.step:
        _check_step(config.step, config.args, place, folder)
    if config.harness:
        _check_harness(config.harness, config.args, place, folder)
    names: list[str] = []  # by which the policy calls the tools
    for i, tool in enumerate(config.tool_configs):
        at = f"{place}.tools[{i}]"
        if ":" not in tool.tool and tool.tool not in list_tools():
            hint = did_you_mean(tool.tool, list_tools())
            raise ConfigError(f"{at}: unknown tool '{tool.tool}'{hint} (or your own as file.py:fn)")
        _check_tool(tool.tool, tool.args, at, folder)
        tag = tag_of(tool.tool, tool.tag)
        if not re.fullmatch(r"\w[\w.-]*", tag):
            raise ConfigError(f"{at}.tag: '{tag}' is no name; write it without brackets: tag: calc")
        if config.calls == "tags" and tag in names:
            raise ConfigError(f"{at}.tag: '{tag}' calls an earlier tool; give it another")
        name = tool.tool.rpartition(":")[2]
        if config.calls == "template" and name in names:
            raise ConfigError(f"{at}: '{name}' calls an earlier tool; rename the function")
        names.append(tag if config.calls == "tags" else name)


def _check_tool(spec: str, args: dict[str, object], place: str, folder: Path | None) -> None:
    """Raise ConfigError where a tool does not take what the recipe gives it: its parameters behind `*`."""
    if ":" in spec:
        definition = _find_function(spec, place, folder)
    else:
        definition = functions.names_in_file(IN_TREE / f"{spec}.py", place)[spec]
    if isinstance(definition, ast.FunctionDef):
        if definition.args.posonlyargs:
            raise ConfigError(f"{place}: {definition.name}: {BY_NAME}")
        positional = [a.arg for a in definition.args.args]
        functions.check_arguments(definition, positional, args, f"{place}.args")


def _check_step(spec: str, args: dict[str, object], place: str, folder: Path | None) -> None:
    definition = _find_function(spec, f"{place}.step", folder)
    if isinstance(definition, ast.FunctionDef):
        functions.check_arguments(definition, ("prompt", "rollout"), args, f"{place}.args")
    # Not of a class with bases, from which it may have its `step`.
    elif isinstance(definition, ast.ClassDef) and not definition.bases:
        methods = {node.name: node for node in definition.body if isinstance(node, ast.FunctionDef)}
        if "step" not in methods:
            raise ConfigError(
                f"{place}.step: class {definition.name} has no method step(self, prompt, rollout); add one"
            )
        functions.check_arguments(methods["step"], ("self", "prompt", "rollout"), {}, f"{place}.step")


def _check_harness(spec: str, args: dict[str, object], place: str, folder: Path | None) -> None:
    path, _ = find_source(spec, f"{place}.harness", folder)
    if path is None:
        return
    names = functions.names_in_file(path, f"{place}.harness")
    definition = functions.find_definition(names, spec, path, f"{place}.harness")
    if isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        functions.check_arguments(definition, ("prompt", "base_url", "api_key"), args, f"{place}.args")


def _find_function(spec: str, place: str, folder: Path | None) -> ast.AST | None:
    """Return what binds the name of a function in its source; None where that cannot be read. Raises ConfigError."""
    path, _ = find_source(spec, place, folder)
    if path is None:
        return None
    definition = functions.find_definition(functions.names_in_file(path, place), spec, path, place)
    if isinstance(definition, ast.AsyncFunctionDef):
        raise ConfigError(f"{place}: {definition.name} is async; write `def {definition.name}`")
    return definition
