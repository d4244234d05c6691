"""Keeps a library from importing another one that nothing here needs."""

from __future__ import annotations

import sys


def skip_scikit_learn() -> None:
    """Let transformers do without scikit-learn, and so without pandas, a third of what a trainer's imports take (1.1 s
    of CPU of 3.5). Call it before transformers' models are imported; whoever else needs scikit-learn still finds it."""
    from transformers.utils.import_utils import is_sklearn_available

    if "sklearn" in sys.modules:  # paid for already
        return
    # transformers imports one function of scikit-learn, for assisted generation, with any of its models. It asks only
    # once whether the library is there and remembers the answer, so the entry can be removed right afterwards.
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        is_sklearn_available()
    finally:
        del sys.modules["sklearn"]
