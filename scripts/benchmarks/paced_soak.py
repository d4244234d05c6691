"""Soaks `rl serve --pace`: many streams at once, each compared with its own answer when alone, while others hang up.

    scripts/soak --pace [--streams N] [--rounds R] [--json FILE]

No token may be lost, be repeated or come from another stream, no decoder may run on for a client that has left, and the
server's memory may not grow (docs/realtime.md).
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from types import FrameType
from typing import Any

START_S = 240.0
MOST_TOKENS = 40
THINK, SPEAK = 6, 4


def build_model(folder: Path) -> Path:
    """Write the tiny model: two layers, 64 wide, random weights."""
    from models.load import build
    from models.settings import BuildConfig

    return build(BuildConfig(hidden_size=64, layers=2, heads=2), folder / "tiny", seed=1)


class Server:
    """`rl serve` in a process of its own."""

    def __init__(self, model: Path, mode: str, streams: int) -> None:
        command = [sys.executable, "-m", "rl", "serve", str(model), "--pace", mode, "--port", "0"]
        command += ["--think", str(THINK), "--speak", str(SPEAK), "--voice", "none"]
        command += ["--streams", str(streams), "--waiting", str(streams)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.port = 0
        self.lines: list[str] = []
        self._began = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self._began.wait(START_S):
            self.close()
            raise SystemExit("rl serve did not start:\n" + "\n".join(self.lines))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if match := re.search(r"serving http://[\d.]+:(\d+)/v1", line):
                self.port = int(match[1])
                self._began.set()
        self._began.set()

    def ask(self, number: int, leave_after: int = 0) -> dict[str, Any]:
        """Return an answer's tokens and figures; with `leave_after` hang up behind so many events."""
        messages = [{"role": "user", "content": f"question {number}: " + "ab" * (number % 7)}]
        body = {
            "messages": messages, "stream": True, "seed": number, "temperature": 1.0, "max_tokens": MOST_TOKENS,
            "return_token_ids": True,
        }  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        began = time.monotonic()
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            response = connection.getresponse()
            if response.status != 200:
                return {"error": response.read().decode()}
            answer: dict[str, Any] = {"words": [], "thoughts": [], "text": "", "first_s": None}
            for event, line in enumerate(line for line in response if line.startswith(b"data: {")):
                if leave_after and event >= leave_after:
                    return {"left": True}
                self._take(json.loads(line[6:]), answer, began)
            return answer
        finally:
            connection.close()

    def _take(self, chunk: dict[str, Any], answer: dict[str, Any], began: float) -> None:
        if "error" in chunk:
            answer["error"] = chunk["error"]["message"]
            return
        choice = chunk["choices"][0]
        if "content" in choice["delta"]:
            answer["first_s"] = answer["first_s"] or time.monotonic() - began
            answer["words"] += choice["token_ids"]
            answer["text"] += choice["delta"]["content"]
        elif "reasoning_content" in choice["delta"]:
            answer["thoughts"] += choice["token_ids"]
        if "pace" in chunk:
            answer["pace"] = chunk["pace"]

    def gauge(self, name: str) -> int:
        """Return one number of /metrics."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return int(float(dict(line.split(" ") for line in text.splitlines() if line[0] != "#")[f"groundtone_{name}"]))

    def resident_kb(self) -> int:
        """Return the memory of the server's process."""
        statm = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGESIZE") >> 10

    def close(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait(30)


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def soak_paced(streams: int, rounds: int, mode: str) -> dict[str, Any]:
    """Return what became of `streams` questions, asked one by one and then `rounds` times all at once."""
    signal.signal(signal.SIGTERM, _end)  # so that the server ends with it
    with tempfile.TemporaryDirectory() as folder:
        server = Server(build_model(Path(folder)), mode, streams)
        try:
            print("asking one by one", file=sys.stderr)
            began = time.monotonic()
            alone = [server.ask(number) for number in range(streams)]
            alone_s, memory = time.monotonic() - began, 0
            figures: dict[str, Any] = {"lost": 0, "mixed": 0, "errors": 0}
            firsts: list[float] = []
            began = time.monotonic()
            with ThreadPoolExecutor(streams + streams // 4) as pool:
                for number in range(rounds):
                    print(f"asking all at once, round {number + 1}", file=sys.stderr)
                    asked = [pool.submit(server.ask, n) for n in range(streams)]
                    # A quarter as many hang up in the middle of their answers.
                    leaving = [pool.submit(server.ask, streams + n, 3 + n % 5) for n in range(streams // 4)]
                    for lone, future in zip(alone, asked, strict=True):
                        together = future.result()
                        count_differences(lone, together, figures)
                        firsts += [together["first_s"]] if together.get("first_s") else []
                    for future in leaving:
                        future.result()
                    memory = memory or server.resident_kb()  # with all threads and buffers that so many streams take
            together_s = time.monotonic() - began
            time.sleep(2.0)  # clients that left are looked for four times a second
            left = server.gauge("running") + server.gauge("waiting")
            cancelled, grown = server.gauge("cancelled_total"), server.resident_kb() / memory
        finally:
            server.close()
    tokens = sum(len(answer["words"]) + len(answer["thoughts"]) for answer in alone)
    return {
        "mode": mode, "streams": streams, "rounds": rounds, **figures, "distinct answers": len({str(a["words"]) for a in alone}),
        "tokens of a round": tokens, "alone, one by one, s": round(alone_s, 1), "all at once, s": round(together_s / rounds, 1),
        "first word alone, s (median)": round(median(a["first_s"] for a in alone if a["first_s"]), 3),
        "first word together, s (median)": round(median(firsts), 3), "(95 %)": round(quantiles(firsts, n=20)[18], 3),
        "hung up": cancelled, "still running": left, "memory": round(grown, 3),
    }  # fmt: skip


def count_differences(lone: dict[str, Any], together: dict[str, Any], figures: dict[str, Any]) -> None:
    """Count what differs between an answer alone and the same one among others."""
    if "error" in lone or "error" in together or "pace" not in together:
        figures["errors"] += 1
        return
    for name in ("words", "thoughts"):
        a, b = lone[name], together[name]
        # How far a chain went when the answer ended is a matter of time; what it says is not.
        shared = min(len(a), len(b)) if name == "thoughts" else max(len(a), len(b))
        if a[:shared] != b[:shared]:
            figures["lost" if len(b) < len(a) else "mixed"] += 1
    if lone["text"] != together["text"]:
        figures["mixed"] += 1
