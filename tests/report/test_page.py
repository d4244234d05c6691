from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rl.report.charts import build_charts
from rl.report.page import write_report
from rl.report.samples import choose_samples
from rl.run.summary import StageSummary, Summary, write_summary
from rl.run.tracker import Tracker
from rl.types import Scored

HOSTILE = '</script><img src=x onerror="alert(1)"><!--results--><b>&amp;'


class Page(HTMLParser):
    """Tags, attributes and text of a page, and the JSON it carries."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.inside, self.text, self.data = "", "", ""
        self.feed(path.read_text())
        self.json: dict[str, Any] = json.loads(self.data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inside = f"{tag} {dict(attrs).get('type', '')}"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self.inside == "script application/json":
            self.data += data
        elif not self.inside.startswith(("script", "style")):
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def whole_run(run: Path, sample: Callable[..., Scored], text: str = "<think>\nhm\n</think>\n4") -> Path:
    metrics = {"accuracy": 0.5, "accuracy/low": 0.4, "accuracy/high": 0.6, "reasoning_tokens": 12.0}
    stages = [StageSummary("before", "evaluate", 2.0, metrics), StageSummary("sft", "sft", 3.0, {"loss": 1.0})]
    stages += [StageSummary("curate", "curate", 1.0), StageSummary("after", "evaluate", 2.0, {"accuracy": 0.75})]
    for number, name, values in ((0, "before", [0.0, 0.5]), (3, "after", [0.5, 1.0])):
        folder = run / "stages" / f"{number:02d}-{name}"
        folder.mkdir(parents=True)
        pq.write_table(
            pa.table({"id": ["p", "q"], "asked": ["?", "?"], "accuracy": values}), folder / "per_prompt.parquet"
        )
    (run / "stages" / "02-curate").mkdir()
    table = pa.table({"id": ["a", "b", "c"], "correct": [0, 3, 3], "k": [4, 4, 4], "keep": [False, True, True]})
    pq.write_table(table, run / "stages" / "02-curate" / "difficulty.parquet")
    for step in (1, 2, 3):
        Tracker(run, "sft").record(step, {"loss": 1 / step, "time/step": 1.0})
        Tracker(run, "rlvr").record(
            step, {"reward": float("nan") if step == 1 else 0.5, "time/step": 1.0, "time/generate": 0.75}
        )
    Tracker(run, "rlvr").record_rollouts(3, [sample(text=text, reason=text), sample(error=text)])
    write_summary(run, Summary(f"words {text}", "running", 8.0, stages, {"python": "3.11", "packages": {"torch": "2"}}))
    return run


def test_a_run_has_all_its_sections(tmp_path: Path, sample: Callable[..., Scored]) -> None:
    page = Page(write_report(whole_run(tmp_path, sample)))
    for says in ("Results", "Difficulty · curate", "3 prompts, 4 samples each; 2 were solved", "Samples", "torch"):
        assert says in page.text
    assert "accuracy25.0 %→75.0 %+50.0 points 95 %: +50.0 to +50.0; before → after, on the 2 prompts that" in page.text
    assert "40.0 – 60.0 %" in page.text
    assert "unfinished, step 3" in page.text
    assert [stage["name"] for stage in page.json["stages"]] == ["sft", "rlvr"]
    assert [row["pick"] for row in page.json["rollouts"]] == ["errored", "other"]


def test_the_vote_stands_beside_the_accuracy(tmp_path: Path) -> None:
    budgets = {"tokens@0": 0.0, "accuracy@0": 0.25, "vote@0": 0.5, "vote@0/low": 0.4, "vote@0/high": 0.6}
    budgets |= {"tokens@full": 16.0, "accuracy@full": 0.75, "vote@full": 1.0}
    without = {name: value for name, value in budgets.items() if not name.startswith("vote")}
    stages = [StageSummary("voted", "evaluate", 1.0, {"accuracy": 0.75, **budgets})]
    write_summary(tmp_path, Summary("x", "done", 1.0, stages))
    page = Page(write_report(tmp_path))
    assert "cut attokensaccuracyvotevoted00.025.0 %50.0 %40.0 – 60.0full16.075.0 %100.0 %" in page.text
    assert "accuracyvoted75.0 %vote@fullvoted100.0 %" in page.text, "and among the results"
    for says in ("majority vote", "voted: vote 50.0 % at 0 tokens", "voted: accuracy 25.0 % at 0 tokens"):
        assert says in page.text
    write_summary(tmp_path, Summary("x", "done", 1.0, [StageSummary("cut", "evaluate", 1.0, without)]))
    assert "cut attokensaccuracycut00.025.0 %full16.075.0 %" in Page(write_report(tmp_path)).text


def test_no_text_of_a_model_becomes_markup(tmp_path: Path, sample: Callable[..., Scored]) -> None:
    page = Page(write_report(whole_run(tmp_path, sample, HOSTILE)))
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert not page.handlers
    assert page.text.count("Difficulty") == 1  # the placeholder in the text was not filled
    errored, best = page.json["rollouts"]
    assert (errored["error"], best["response"], best["reason"]) == (HOSTILE, HOSTILE, HOSTILE)


def test_figures_and_difference_are_of_the_same_prompts(tmp_path: Path) -> None:
    """The second evaluation measured more prompts than the first."""
    stages = [
        StageSummary("before", "evaluate", 1.0, {"accuracy": 0.25}),
        StageSummary("after", "evaluate", 1.0, {"accuracy": 0.5}),
    ]
    for number, (name, values) in enumerate({"before": [0.0, 0.5], "after": [0.5, 1.0, 0.0, 0.5]}.items()):
        folder = tmp_path / "stages" / f"{number:02d}-{name}"
        folder.mkdir(parents=True)
        ids = [f"p{i}" for i in range(len(values))]
        table = pa.table({"id": ids, "asked": ids, "accuracy": values})
        pq.write_table(table, folder / "per_prompt.parquet")
    write_summary(tmp_path, Summary("x", "done", 1.0, stages))
    text = Page(write_report(tmp_path)).text
    assert "accuracy25.0 %→75.0 %+50.0 points" in text
    assert "before → after, on the 2 prompts that both have" in text
    assert "accuracybefore25.0 %after50.0 %" in text, "among the results each has all of its prompts"


@pytest.mark.parametrize(
    ("scores", "picks"),
    [
        ([1.0] * 8, {"other"}),
        ([0.0] * 8, {"other"}),
        ([0.5], {"other"}),
        ([None] * 8, {"errored"}),
        ([1.0, *[0.0] * 7], {"best", "worst", "other"}),
        ([*[1.0] * 7, 0.0], {"best", "worst", "other"}),
    ],
)
def test_equal_scores_are_neither_best_nor_worst(
    tmp_path: Path, sample: Callable[..., Scored], scores: list[float | None], picks: set[str]
) -> None:
    samples = [
        sample(id=str(i), error="broke") if score is None else sample(id=str(i), score=score)
        for i, score in enumerate(scores)
    ]
    Tracker(tmp_path, "rlvr").record(1, {"reward": 0.5})
    Tracker(tmp_path, "rlvr").record_rollouts(1, samples)
    rows = choose_samples(tmp_path)
    assert {row["pick"] for row in rows} == picks
    assert all(row["score"] > min(s for s in scores if s is not None) for row in rows if row["pick"] == "best")
    assert all(row["score"] < max(s for s in scores if s is not None) for row in rows if row["pick"] == "worst")
    says = "best" in picks
    assert ("best, worst" in Page(write_report(tmp_path)).text) == says


def test_a_lone_evaluation_shows_its_answers_not_a_few_of_them(tmp_path: Path, sample: Callable[..., Scored]) -> None:
    alone, among = Tracker(tmp_path / "alone", "after"), Tracker(tmp_path / "among", "after")
    answers = [sample(id=str(i), score=i / 100) for i in range(100)]
    for tracker, steps in ((alone, 1), (among, 2)):
        for step in range(steps):
            tracker.record_rollouts(step + 1, answers)
    assert len(choose_samples(tmp_path / "alone")) == 100
    errs = [sample(id=str(i), error="broke") if i < 60 else sample(id=str(i), score=1.0) for i in range(100)]
    Tracker(tmp_path / "errs", "after").record_rollouts(1, errs)
    assert len(choose_samples(tmp_path / "errs")) == 100, "also where more than a quarter erred"
    assert len(choose_samples(tmp_path / "among")) == 48


def test_a_page_asks_nothing_of_the_network(tmp_path: Path, sample: Callable[..., Scored]) -> None:
    text = write_report(whole_run(tmp_path, sample)).read_text()
    assert "default-src 'none'" in text
    assert not {"link", "iframe", "audio"} & set(Page(tmp_path / "report.html").tags)
    assert text.count("http") == text.count("http-equiv") + text.count("http://www.w3.org/2000/svg")


def test_partial_runs_have_pages_too(tmp_path: Path, sample: Callable[..., Scored]) -> None:
    only_recipe, only_sft, no_rows = (tmp_path / name for name in ("recipe", "sft", "empty"))
    only_recipe.mkdir()
    (only_recipe / "recipe.yaml").write_text("name: x\n")
    assert Page(write_report(only_recipe)).json == {"stages": [], "rollouts": [], "clips": {}}
    Tracker(only_sft, "sft").record(1, {"loss": 2.0})
    assert [stage["steps"] for stage in Page(write_report(only_sft)).json["stages"]] == [[1]]
    Tracker(no_rows, "rlvr").record_rollouts(1, [])
    write_summary(
        no_rows, Summary("x", "failed", 1.0, [StageSummary("e", "evaluate", 1.0, {"accuracy": float("nan")})])
    )
    assert "failed" in Page(write_report(no_rows)).text
    with pytest.raises(ValueError, match="holds no run"):
        write_report(tmp_path)


def test_a_long_run_of_long_texts_stays_small(tmp_path: Path, sample: Callable[..., Scored]) -> None:
    chain = "<think>\n" + "长思考" * 10_000 + "\n</think>\n4"
    tracker = Tracker(tmp_path, "rlvr")
    for step in range(1, 71):
        tracker.record_rollouts(step, [sample(text=chain, id=str(i), score=i / 8) for i in range(8)])
    lines = [{"stage": "rlvr", "step": s, **{f"metric/{i}": s / 7 for i in range(40)}} for s in range(1, 3001)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = write_report(tmp_path)
    assert path.stat().st_size < 3_000_000
    samples = choose_samples(tmp_path)
    assert samples == choose_samples(tmp_path)
    assert len(samples) == 300
    assert {1, 70} <= {row["step"] for row in samples}
    assert "characters left out" in samples[0]["think"]


def test_charts_average_long_runs_and_keep_unknown_metrics() -> None:
    rows = [{"stage": "s", "step": i, "reward": i % 2, "mine": 1.0} for i in range(1, 801)]
    rows += [{"stage": "s", "step": 2, "eval/accuracy": 0.5, "eval/accuracy/low": 0.4, "eval/accuracy/high": 0.6}]
    charts = build_charts(rows)
    assert charts["steps_per_point"] == 2
    assert charts["steps"] == list(range(2, 801, 2))
    reward, held_out, mine = charts["charts"]
    assert set(reward["series"][0]["values"]) == {0.5}
    assert held_out["series"][0]["values"][:2] == [0.5, None]
    assert held_out["series"][0]["low"][0] == 0.4
    assert mine["title"] == "mine"


def test_phases_leave_the_rest_of_the_step_to_other() -> None:
    row = {"stage": "s", "step": 1, "time/generate": 2.0, "time/update": 1.0, "time/step": 3.5}
    overlapping = {"stage": "s", "step": 2, "time/generate": 2.0, "time/update": 1.0, "time/step": 2.5}
    assert build_charts([row, overlapping])["phases"] == [
        {"name": "generate", "values": [2.0, 2.0]},
        {"name": "update", "values": [1.0, 1.0]},
        {"name": "other", "values": [0.5, 0.0]},
    ]
    (alone,) = build_charts([{"stage": "s", "step": 1, "time/step": 3.0}])["charts"]
    assert alone["title"] == "Time per step"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_a_browser_draws_it(tmp_path: Path, sample: Callable[..., Scored]) -> None:
    drawn = drawn_by_chromium(write_report(whole_run(tmp_path / "run", sample, f"<think>\nhm\n</think>\n{HOSTILE}")))
    assert drawn.count("<figure") == 1 + 2 + 2  # histogram; loss and time; reward and phases
    assert drawn.count("<details") == 1 + 2  # environment and two samples
    assert "<img" not in drawn


MEASURE = """
<script>
const isCut = (e) => { for (e = e.parentElement; e; e = e.parentElement) if (getComputedStyle(e).overflowX !== "visible") return true; };
const rooms = [...document.querySelectorAll("section, header")];
const wide = rooms.flatMap((room) => [...room.querySelectorAll("*")].filter((e) =>
  e.getBoundingClientRect().right > room.getBoundingClientRect().right + 1 && !isCut(e)));
const scrolling = [...document.querySelectorAll("#results, #results *, .scroll")].filter((e) => e.clientWidth && e.scrollWidth > e.clientWidth + 1);
const cells = [...document.querySelectorAll("#results td")].filter((e) => e.getBoundingClientRect().right <= innerWidth);
parent.document.body.textContent = `MEASURED ${innerWidth} ${document.documentElement.scrollWidth <= innerWidth} ` +
  `${cells.length} ` + [...wide, ...scrolling].map((e) => e.tagName + "." + e.getAttribute("class")).join(" ");
</script>
"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_everything_fits_the_page(tmp_path: Path, sample: Callable[..., Scored], width: int) -> None:
    """Also a dozen evaluations of a dozen metrics: nothing is hidden to the right of its card."""
    run = whole_run(tmp_path / "run", sample)
    names = ["accuracy", "greedy_accuracy", "pass@8", "accuracy_heard", "accuracy_silenced", "audio_reliance"]
    metrics = {f"{name}{end}": 0.5 for name in names for end in ("", "/low", "/high")}
    metrics |= {f"accuracy_in/a_source_with_a_long_name_{i}": 0.25 for i in range(6)}
    metrics |= {f"{name}@{budget}": 1.0 for budget in (0, 16, "full") for name in ("tokens", "accuracy", "vote")}
    stages = [StageSummary(f"check-after-imitation@{i}", "evaluate", 9.0, metrics) for i in range(12)]
    write_summary(run, Summary("a-name-without-a-space-" * 4, "done", 99.0, stages))
    for number, stage in enumerate(stages[:2]):
        folder = run / "stages" / f"{number:02d}-{stage.name}"
        folder.mkdir()
        record = {"kind": "distill", "parents": [], "counts": {"asked": 10**6, "sampled": 10**7, "kept": 5}}
        (folder / "done.json").write_text(json.dumps(record))
    page = write_report(run)
    text = page.read_text().replace("Content-Security-Policy", "no-policy").replace("</body>", f"{MEASURE}</body>")
    # In a frame, because a window of Chromium is never narrower than 500 pixels.
    frame = f'<iframe style="border: 0; width: {width}px; height: 3000px" srcdoc="{escape(text)}"></iframe>'
    page.write_text(f"<!DOCTYPE html><body>{frame}</body>")
    measured = drawn_by_chromium(page).partition("MEASURED ")[2].partition("<")[0].split()
    assert measured == [str(width), "true", str(12 * 13)]


def test_the_page_of_a_run_that_goes_on_says_when_it_was_written(tmp_path: Path, sample: Callable[..., Scored]) -> None:
    run = whole_run(tmp_path, sample)
    assert "as of" in Page(write_report(run)).text
    write_summary(run, Summary("words", "done", 1.0))
    assert "as of" not in Page(write_report(run)).text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_the_page_of_a_run_that_goes_on_loads_itself_again(tmp_path: Path, sample: Callable[..., Scored]) -> None:
    """Not that of one that has ended, nor one of which somebody reads a part."""
    run, pages = whole_run(tmp_path / "run", sample), {}
    for name, status in {"done": "done", "goes-on": "running"}.items():
        write_summary(run, Summary("words", status, 1.0, environment={"python": "3.11"}))
        pages[f"/{name}"] = write_report(run).read_text()
    pages["/read"] = pages["/goes-on"].replace("<details>", "<details open>")
    pages["/"] = "<!DOCTYPE html>" + "".join(f'<iframe src="{path}"></iframe>' for path in pages)
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(pages.get(self.path, "").encode())

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = f"--headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-port=0 --user-data-dir={tmp_path}/p"
        command = ["chromium", *flags.split(), f"http://127.0.0.1:{server.server_port}/"]
        browser = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 200
            while requests.count("/goes-on") < 3:
                assert time.monotonic() < deadline, requests
                time.sleep(0.1)
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            server.shutdown()
    assert (requests.count("/done"), requests.count("/read")) == (1, 1)


def drawn_by_chromium(path: Path) -> str:
    """The page after its script has run."""
    quiet = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    quiet += (
        f" --disable-component-update --disable-sync --virtual-time-budget=1000 --user-data-dir={path.parent}/profile"
    )
    command = ["chromium", *quiet.split(), "--window-size=1400,4000", "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
