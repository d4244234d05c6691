"""Orderly end of a command after Ctrl-C (SIGINT), SIGTERM, or a failure that another thread has found.

The first signal raises KeyboardInterrupt in the main thread, so that the command can tidy up; further ones change nothing,
since whoever wraps a command often sends each signal twice. Whatever keeps the main thread (C code that does not return, a
Ray that does not shut down) has `GRACE_S`; then a thread of this module prints the last line and ends the process. Either
way nothing that the command has started outlives it.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType

GRACE_S = 7.0
"""Seconds between the first signal and the end of the process, whatever the main thread is doing."""
_KILL_S = 1.0  # for killed processes to be gone
_RESEND_S = 1.0  # between two interruptions of a main thread that has not heard of a failure
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FAILURE = signal.SIGRTMIN + 7  # from this process to itself; SIGINT may be ignored (a shell's background job)
_FAILED = 2  # the exit code of a failure


class _Shutdown:
    """State of this process's end. A class and not an object: there is one for the process."""

    signal_number = 0
    """The first signal; 0 until there is one."""
    failure = ""
    """Reason why the command must end without a signal from outside; empty while there is none."""
    failures = 0
    """Failures so far, also those that the command has recovered from."""
    is_taken = False
    """The main thread has heard of the failure."""
    is_installed = False
    """`install_handlers` has been called."""
    message = "interrupted"
    """The command's last line."""
    on_signal: Callable[[], object] = staticmethod(lambda: None)
    """Records on disk that the command was interrupted."""
    message_lock = threading.Lock()
    """Acquired, and never released, by the thread that prints the message: it is printed once."""


def install_handlers() -> None:
    """Handle SIGINT and SIGTERM from now on. Call it once, in the main thread of a command."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # Python runs a handler in the main thread alone, between two bytecodes; C code there can keep it from that for ever.
    # The wake-up pipe gets the signal's number at once, and a thread can read it.
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell starts background jobs with SIGINT ignored
            signal.signal(number, _interrupt)
    signal.signal(_FAILURE, _interrupt)
    _Shutdown.is_installed = True
    os.register_at_fork(after_in_child=_restore_handlers)
    threading.Thread(target=_wait_for_signal, args=(reader,), name="signals", daemon=True).start()


def is_interrupted() -> bool:
    """Return whether the command has received SIGINT or SIGTERM."""
    return bool(_Shutdown.signal_number)


def fail(reason: str) -> None:
    """End the command with the line `reason` and exit code 2, from any thread: the main one gets KeyboardInterrupt, and
    where it does not come to itself within `GRACE_S` the process ends without it. Without handlers, as in a notebook,
    only the former. Do nothing where the command is ending already."""
    if _Shutdown.signal_number or _Shutdown.failure:
        return
    _Shutdown.failure, _Shutdown.is_taken = reason, False
    _Shutdown.failures += 1
    if _Shutdown.is_installed:
        signal.pthread_kill(threading.main_thread().ident or 0, _FAILURE)
    else:
        _thread.interrupt_main()


def take_failure() -> str:
    """Return the reason that `fail` was given, and "" without one; where no handlers are installed, once."""
    reason = _Shutdown.failure
    _Shutdown.is_taken = bool(reason)
    if not _Shutdown.is_installed:
        _Shutdown.failure = ""
    return reason


def recover() -> None:
    """Forget the failure that `take_failure` has returned: the command goes on, and `fail` may be called again."""
    _Shutdown.failure = ""
    os.environ.pop("RAY_IGNORE_UNHANDLED_ERRORS", None)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0)


def is_ending() -> bool:
    """Return whether the command has received a signal, or must end for a failure that another thread has found."""
    return bool(_Shutdown.signal_number or _Shutdown.failure)


@contextmanager
def interruptible(message: str, on_signal: Callable[[], object] = lambda: None) -> Generator[None]:
    """Turn an interruption of the block into `rl.terminal.Interruption(message)`.

    `on_signal` is called as soon as the signal arrives: whoever has sent it may not wait for the rest.
    """
    from rl.terminal import Interruption

    _Shutdown.message, _Shutdown.on_signal = message, staticmethod(on_signal)
    try:
        yield
    except KeyboardInterrupt:
        if _Shutdown.failure:
            raise ValueError(_Shutdown.failure) from None
        raise Interruption(message) from None
    except Exception:
        if is_interrupted():  # a library that was interrupted may raise an error of its own
            raise Interruption(message) from None
        raise
    finally:
        if not is_interrupted():
            _Shutdown.on_signal = staticmethod(lambda: None)


def say_interrupted(message: str = "interrupted") -> int:
    """Print the command's last line and return its exit code as a shell would: 130 after Ctrl-C, 143 after SIGTERM."""
    from rl.terminal import complain

    claim_last_line()
    complain(message)
    return 128 + (_Shutdown.signal_number or signal.SIGINT)


def claim_last_line() -> None:
    """Return once no other thread can print the command's last line."""
    if is_ending():
        # If `_wait_for_signal` has it already, this waits for ever: that thread prints the line and ends the process.
        _Shutdown.message_lock.acquire()


def kill_and_exit(code: int) -> None:
    """Kill all that this process has started, and exit at once with `code`."""
    from rewards.deadline import list_children, list_descendants

    deadline = time.monotonic() + _KILL_S
    # Again and again: a process that was just starting another one may have escaped the last round.
    while time.monotonic() < deadline:
        children = set(list_children(os.getpid()))
        below = [pid for pid in list_descendants(os.getpid()) if pid not in children]
        for pid in below:
            _kill(pid)
        with suppress(ChildProcessError):  # nothing is left
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not below:
            break
        time.sleep(0.01)
    # At the very end, for Ray ends this process with a code of its own as soon as it misses the raylet.
    for pid in list_descendants(os.getpid()):
        _kill(pid)
    os._exit(code)  # not sys.exit, which waits for threads and for the exit handlers of libraries


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _interrupt(number: int, _: FrameType | None) -> None:
    """Raise KeyboardInterrupt at the first signal; the handler of all."""
    if number == _FAILURE and (_Shutdown.is_taken or not _Shutdown.failure):
        return  # sent again just as the main thread heard of it
    if number == _FAILURE or not is_ending():
        if number != _FAILURE:
            _Shutdown.signal_number = number
        # Calls to actors are left without anyone to read their results; Ray prints each of them that fails from now on,
        # such as a checkpoint whose folder is tidied away under the writer.
        os.environ["RAY_IGNORE_UNHANDLED_ERRORS"] = "1"
        raise KeyboardInterrupt


def _wait_for_signal(reader: int) -> None:
    """Wait for the first signal, and end the process where the main thread has not done so within `GRACE_S`."""
    number = 0
    while number not in _SIGNALS:
        number = os.read(reader, 1)[0]
        if number == _FAILURE and not _is_survived():
            break
    failure = _Shutdown.failure
    # A process that loses its parent from now on becomes our child, and `kill_and_exit` finds it.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if number != _FAILURE:
        with suppress(Exception):  # the disk may be full
            _Shutdown.on_signal()
        time.sleep(GRACE_S)
    if _Shutdown.message_lock.acquire(blocking=False):
        from rl.terminal import complain

        with suppress(Exception):  # again: the main thread may have written over the first mark
            if not failure:
                _Shutdown.on_signal()
        complain(f"error: {failure}" if failure else _Shutdown.message)
    kill_and_exit(_FAILED if failure else 128 + number)


def _is_survived() -> bool:
    """Wait for the main thread to hear of a failure; return whether the command has recovered from it within `GRACE_S`."""
    count, deadline = _Shutdown.failures, time.monotonic() + GRACE_S
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    while time.monotonic() < deadline:
        if _Shutdown.failures > count or not _Shutdown.failure:
            return True  # what has failed since has a byte of its own in the pipe
        time.sleep(min(_RESEND_S, GRACE_S / 4))
        if _Shutdown.failure and not _Shutdown.is_taken:
            # The main thread may be tidying up, and wait for what will never come: this gets it out of there too.
            signal.pthread_kill(threading.main_thread().ident or 0, _FAILURE)
    return False


def _restore_handlers() -> None:
    """Give a forked child the signals' usual effects: it is no command, and its signals must not end its parent."""
    signal.set_wakeup_fd(-1)  # it shares the pipe with its parent
    usual_handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        _FAILURE: signal.SIG_DFL,
    }
    for number, usual_handler in usual_handlers.items():
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, usual_handler)
