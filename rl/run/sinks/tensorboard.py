"""TensorBoard: curves, samples as text and sounds, in `tensorboard/STAGE/` of the run's directory.

No file is held open and every event is written whole, so a kill at any moment costs at most the event being written.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rl.run.files import detect_full_disk
from rl.run.sinks.base import RunFacts, Sample, Sink

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

TENSORBOARD = "tensorboard"


class TensorBoard(Sink):
    """Writes event files, one for each stage of a process."""

    def __init__(self, run: RunFacts) -> None:
        super().__init__(run)
        self._files: dict[str, Path] = {}

    def record(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=number) for name, number in metrics.items()]
        self._write(stage, step, values)

    def rewind(self, stage: str, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        # TensorBoard drops what earlier event files of the stage hold from this step on.
        log = SessionLog(status=SessionLog.START)
        self._write_event(stage, Event(wall_time=time.time(), step=max(step + 1, 0), session_log=log))

    def record_samples(self, stage: str, step: int, samples: Sequence[Sample]) -> None:
        values = [_text(f"samples/{number}", _markdown(sample)) for number, sample in enumerate(samples, 1)]
        for number, sample in enumerate(samples, 1):
            # Under a tag of their own: TensorBoard knows one plugin for a tag, and shows neither where two share it.
            values += [_audio(f"sounds/{number}", clip) for clip in sample.clips[:1]]
        self._write(stage, step, values)

    def record_table(self, name: str, rows: Sequence[Mapping[str, str | float]]) -> None:
        if rows:
            header, rule = " | ".join(rows[0]), "|".join("---" for _ in rows[0])
            lines = [" | ".join(_cell(value) for value in row.values()) for row in rows]
            self._write("run", 0, [_text(name, "\n".join([header, rule, *lines]))])

    def _write(self, stage: str, step: int, values: Sequence[Summary.Value]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write_event(stage, Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _write_event(self, stage: str, event: Event) -> None:
        # TensorBoard's EventFileWriter would put the host's name into the file's name and lose a full disk in a thread.
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        if stage not in self._files:
            self._files[stage] = self.run.folder / TENSORBOARD / stage / f"events.out.tfevents.{time.time_ns()}"
        path = self._files[stage]
        with detect_full_disk(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                writer = RecordWriter(file)
                if not file.tell():  # an event file begins with its format's version
                    writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
                writer.write(event.SerializeToString())


def _cell(value: str | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _markdown(sample: Sample) -> str:
    """Return a sample in Markdown, its texts indented so that nothing in them is taken for markup."""
    score = "error" if sample.score is None else f"{sample.score:.3g}"
    texts = {"prompt": sample.prompt, "answer": sample.answer or "", f"sample, score {score}": sample.text}
    texts |= {"reason": sample.reason} if sample.reason else {}
    return "\n\n".join(
        f"**{name}**\n\n" + "\n".join(f"    {line}" for line in text.split("\n")) for name, text in texts.items()
    )


def _text(tag: str, text: str) -> Summary.Value:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode("utf-8", "replace")], tensor_shape=shape)
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    return Summary.Value(tag=tag, metadata=metadata, tensor=tensor)


def _audio(tag: str, clip: Path) -> Summary.Value:
    """Return a clip as TensorBoard plays it, as WAV."""
    import io

    import soundfile
    from tensorboard.compat.proto.summary_pb2 import Summary

    signal, rate = soundfile.read(clip, dtype="float32", always_2d=True)
    wav = io.BytesIO()
    soundfile.write(wav, signal, rate, format="WAV", subtype="PCM_16")
    audio = Summary.Audio(
        sample_rate=rate,
        num_channels=signal.shape[1],
        length_frames=signal.shape[0],
        encoded_audio_string=wav.getvalue(),
        content_type="audio/wav",
    )
    return Summary.Value(tag=tag, audio=audio)
