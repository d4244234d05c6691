"""The contract of a verifier, and the verifiers that come with the library.

A verifier is one module with a function `verify(prompt, rollout, **args) -> Verdict` and `GOLD`, a handful of `Case`s that
it must judge right before a run starts. The first line of its docstring says in one sentence what it judges: `rl verifiers
list` shows it. It may raise, wait or exit: since it runs in a process of its own, that makes its own sample an error and
harms nothing else. An answer on which it uses up its CPU time or memory scores 0, unless the module says
`ON_TIMEOUT = "error"`, as one does whose time depends on more than the answer. A function `require()`, where there is one,
raises ValueError before a run if something is missing that the verifier needs.
"""

from rewards.contract import Case

__all__ = ["Case"]
