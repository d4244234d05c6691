"""One answer on its way to its client: tokens become text, text becomes sound, and all of it becomes events."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from rl.realtime.answers import Report
from rl.realtime.engine import Answering
from rl.realtime.phrases import Phrases
from rl.realtime.stream import End, Event, Failure, Silence, Sound, Thought, Word
from rl.realtime.voice import Voice, VoiceError
from rollouts.harness.settings import AskError

VOICES = threading.BoundedSemaphore(4)
"""Phrases that are spoken at once, of all answers."""
AHEAD = 2
"""Phrases of an answer that are spoken before its client has taken the first of them: their sound waits in memory."""


class Speaker:
    """Speaks the phrases of one answer in their order, in a thread of its own: a slow voice keeps no word from the screen."""

    def __init__(self, voice: Voice, tell: Callable[[Sound | Silence], None]) -> None:
        self.voice, self.tell = voice, tell
        self.gone = threading.Event()
        self._phrases: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._places = threading.Semaphore(AHEAD)
        threading.Thread(target=self._work, name="speaker", daemon=True).start()

    def say(self, phrase: str) -> None:
        """Speak a phrase after those before."""
        self._phrases.put(phrase)

    def make_room(self) -> None:
        """Let one more phrase be spoken: the client has taken the sound of one."""
        self._places.release()

    def finish(self) -> None:
        """End the thread once all phrases that were given so far are spoken."""
        self._phrases.put("")

    def stop(self) -> None:
        """End the thread without the phrases that still wait."""
        self.gone.set()
        self.make_room()
        self.finish()

    def _work(self) -> None:
        while phrase := self._phrases.get():
            # Without a bound: `stop`, which whoever has a speaker calls, makes room too.
            self._places.acquire()
            if self.gone.is_set():
                break
            try:
                with VOICES:
                    self.tell(Sound(self.voice.speak(phrase, self.gone), phrase))
            except VoiceError as error:
                self.tell(Silence(str(error)))
                return
            except Exception as error:  # isolation boundary: its client must not wait for ever
                self.tell(Silence(f"{type(error).__name__}: {error}"))
                return
        self.tell(Silence())


class Delivery:
    """Chunks for one client. Used by the client's own thread."""

    def __init__(self, report: Report, answering: Answering, voice: Voice | None) -> None:
        self.report, self.answering = report, answering
        self.phrases = Phrases()
        self.speaker = Speaker(voice, answering.events.put) if voice and report.wish.with_audio else None
        self.first_audio_s: float | None = None
        self.is_silent = self.speaker is None
        self.end: End | None = None

    @property
    def is_over(self) -> bool:
        """Return whether both the text and the sound have come to their end."""
        return self.end is not None and self.is_silent

    def take(self, event: Event) -> list[dict[str, object]]:
        """Return the chunks of an event. Raises AskError where there will be no answer."""
        chunks: list[dict[str, object]] = []
        if isinstance(event, Failure):
            raise AskError("internal", event.reason, 500)
        if isinstance(event, Thought | Word):
            chunk, words = self.report.tell(event)
            chunks.append(chunk)
            self._say(self.phrases.add(words))
        elif isinstance(event, Sound):
            if self.speaker:
                self.speaker.make_room()
            if self.first_audio_s is None:
                self.first_audio_s = round(time.monotonic() - self.answering.stream.times.question_s, 4)
            chunks.append(self.report.tell_audio(event.wav, event.phrase))
        elif isinstance(event, Silence):
            self.is_silent = True
            if event.reason:
                chunks.append(self.report.tell_silence(event.reason))
        else:
            self.end = event
            last, words = self.report.tell_end()
            chunks += last
            self._say([*self.phrases.add(words), *self.phrases.rest()])
            if self.speaker:
                self.speaker.finish()
        if self.is_over and self.end is not None:
            sound_figures = {} if self.speaker is None else {"first_audio_s": self.first_audio_s}
            chunks.append(self.report.close(End(self.end.finish_reason, self.end.figures | sound_figures)))
        return chunks

    def close(self) -> None:
        """Stop the voice, if there is one."""
        if self.speaker:
            self.speaker.stop()

    def _say(self, phrases: list[str]) -> None:
        if self.speaker:
            for phrase in phrases:
                self.speaker.say(phrase)
