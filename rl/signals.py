"""How a command ends that is told to end: by Ctrl-C (SIGINT) or by SIGTERM.

The first signal raises KeyboardInterrupt in the main thread, so that the command can tidy up; further ones change nothing,
since whoever wraps a command often sends each signal twice. Whatever keeps the main thread (C code that does not come
back, a Ray that does not shut down) has `GRACE_S`; then a thread of this module says the last line and ends the process.
Either way nothing that the command has started outlives it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType

GRACE_S = 7.0
_DEAD_S = 1.0  # for what has been killed to be gone
_SUBREAPER = 36  # prctl(2)
_HEARD = (signal.SIGINT, signal.SIGTERM)


class _Ending:
    """What is known of the command's end; one for the process."""

    received = 0
    """The first signal; 0 until there is one."""
    line = "interrupted"
    mark: Callable[[], object] = staticmethod(lambda: None)
    """Notes, where it lasts, that the command was interrupted."""
    last_word = threading.Lock()
    """Taken, and never given back, by whoever says the line."""


def listen() -> None:
    """Heed the signals from now on. For the main thread of a command."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)  # reaches a thread while the main one is in C code
    for number in _HEARD:
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell's background job is deaf to Ctrl-C
            signal.signal(number, _interrupt)
    os.register_at_fork(after_in_child=_be_deaf)
    threading.Thread(target=_watch, args=(reading,), name="signals", daemon=True).start()


def received() -> bool:
    """Say whether the command has been told to end."""
    return bool(_Ending.received)


@contextmanager
def interruptible(line: str, mark: Callable[[], object] = lambda: None) -> Generator[None]:
    """While it lasts, an interruption is told by `line` (rl.terminal.Interruption), and noted by `mark` as soon as the
    signal is there: whoever has sent it may not wait for the rest."""
    from rl.terminal import Interruption

    _Ending.line, _Ending.mark = line, staticmethod(mark)
    try:
        yield
    except KeyboardInterrupt:
        raise Interruption(line) from None
    except Exception:
        if _Ending.received:  # what was interrupted may say so in words of its own
            raise Interruption(line) from None
        raise
    finally:
        if not _Ending.received:
            _Ending.mark = staticmethod(lambda: None)


def say_interrupted(line: str = "interrupted") -> int:
    """Say the command's last line; return its exit code, as a shell would: 130 after Ctrl-C, 143 after SIGTERM."""
    from rl.terminal import complain

    if _Ending.received:
        _Ending.last_word.acquire()  # forever, where `_watch` has it already: it ends the process
    complain(line)
    return 128 + (_Ending.received or signal.SIGINT)


def end(code: int) -> None:
    """Kill all that this process has started, and end it at once."""
    from rewards.deadline import descendants

    until = time.monotonic() + _DEAD_S
    with suppress(ChildProcessError):  # nothing is left
        while time.monotonic() < until:
            for pid in descendants(os.getpid()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.01)
    os._exit(code)


def _interrupt(number: int, _: FrameType | None) -> None:
    if not _Ending.received:
        _Ending.received = number
        raise KeyboardInterrupt


def _watch(reading: int) -> None:
    number = 0
    while number not in _HEARD:
        number = os.read(reading, 1)[0]
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)  # what loses its parent from now on becomes our child, and `end` finds it
    with suppress(Exception):  # the disk may be full
        _Ending.mark()
    time.sleep(GRACE_S)
    if _Ending.last_word.acquire(blocking=False):
        from rl.terminal import complain

        with suppress(Exception):
            _Ending.mark()
        complain(_Ending.line)
    end(128 + number)


def _be_deaf() -> None:
    """A forked child is no command: it has the signals' usual effects, and none on its parent."""
    signal.set_wakeup_fd(-1)
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, usual)
