"use strict";
// Draws the curves and the sample browser from the JSON in the page. Text of a run is set through textContent alone.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}
const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

function format(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1000) return value.toLocaleString("en", { maximumFractionDigits: 0 });
  if (size === 0) return "0";
  if (size < 0.001) return String(Number(value.toPrecision(2)).toExponential()).replaceAll("-", "−");
  return String(Number(value.toPrecision(size >= 100 ? 4 : 3))).replace("-", "−");
}

function tickText(value) {
  const size = Math.abs(value);
  return size >= 1e6 ? `${format(value / 1e6)}M` : size >= 1e4 ? `${format(value / 1e3)}k` : format(value);
}

// ---- scales ------------------------------------------------------------------------------------------------------

function linearScale(values) {
  let low = Math.min(...values), high = Math.max(...values);
  if (low >= 0 && low < 0.6 * high) low = 0; // start at 0 unless that would squeeze the curve into the upper part
  if (high <= 0 && high > 0.6 * low) high = 0;
  if (low === high) [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  const rough = (high - low) / 3, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const from = Math.floor(low / step + 1e-6), to = Math.ceil(high / step - 1e-6);
  const ticks = Array.from({ length: to - from + 1 }, (_, i) => Number(((from + i) * step).toPrecision(12)));
  return { ticks, at: (v) => (v - ticks[0]) / (ticks[ticks.length - 1] - ticks[0]), forward: (v) => v, back: (v) => v };
}

function logScale(values) {
  const positive = values.filter((v) => v > 0); // zeros are drawn at the bottom
  if (!positive.length) return linearScale(values);
  const from = Math.floor(Math.log10(Math.min(...positive))), to = Math.ceil(Math.log10(Math.max(...positive)) + 1e-9);
  const every = Math.ceil((to - from) / 4) || 1, ticks = [];
  for (let power = from; power <= to; power += every) ticks.push(10 ** power);
  const floor = 10 ** from, last = Math.max(to, from + 1);
  const at = (v) => (Math.log10(Math.max(v, floor)) - from) / (last - from);
  return { ticks, at, forward: (v) => Math.log10(Math.max(v, floor)), back: (v) => 10 ** v };
}

// A Gaussian window to both sides of each point: a mean over past points alone would show every fall too late.
function smooth(values, scale) {
  const indices = values.map((_, i) => i).filter((i) => values[i] !== null), sigma = Math.max(2, indices.length / 40);
  const forward = indices.map((i) => scale.forward(values[i])); // on a log scale, the mean is taken of logarithms
  const span = Math.ceil(2.5 * sigma), means = values.map(() => null);
  indices.forEach((i, place) => {
    let sum = 0, weight = 0;
    for (let other = Math.max(0, place - span); other <= Math.min(indices.length - 1, place + span); other++) {
      const w = Math.exp(-0.5 * ((other - place) / sigma) ** 2);
      sum += w * forward[other];
      weight += w;
    }
    means[i] = scale.back(sum / weight);
  });
  return means;
}

// ---- charts ------------------------------------------------------------------------------------------------------

const EDGE = { left: 46, right: 8, top: 8, bottom: 18 };

// Axes, grid and cursor of a chart, with the functions from data to pixels.
function frame(width, height, steps, scale) {
  const inner = { width: width - EDGE.left - EDGE.right, height: height - EDGE.top - EDGE.bottom };
  const x = (i) => EDGE.left + (steps.length < 2 ? 0.5 : i / (steps.length - 1)) * inner.width;
  const y = (v) => EDGE.top + (1 - scale.at(v)) * inner.height;
  const grid = scale.ticks.map((tick) => svg("g", { class: "grid" },
    svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(tick), y2: y(tick) }),
    svg("text", { x: EDGE.left - 7, y: y(tick) + 3.5, "text-anchor": "end" }, tickText(tick))));
  const ends = svg("g", { class: "grid ends" }, svg("text", { x: x(0), y: height - 3 }, String(steps[0])),
    steps.length < 2 ? null : svg("text", { x: width - EDGE.right, y: height - 3, "text-anchor": "end" }, String(steps[steps.length - 1])));
  const cursor = svg("g", { class: "cursor", visibility: "hidden" },
    svg("line", { y1: EDGE.top, y2: height - EDGE.bottom }), svg("text", { y: height - 3, "text-anchor": "middle" }));
  const node = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, grid, ends);
  const nearest = (event) => {
    const part = (event.clientX - node.getBoundingClientRect().left - EDGE.left) / inner.width;
    return Math.max(0, Math.min(steps.length - 1, Math.round(part * (steps.length - 1))));
  };
  const point = (i) => {
    cursor.setAttribute("visibility", i === null ? "hidden" : "visible");
    if (i === null) return;
    const [line, text] = cursor.children;
    line.setAttribute("x1", x(i)), line.setAttribute("x2", x(i));
    text.setAttribute("x", Math.max(EDGE.left + 12, Math.min(width - 16, x(i)))), (text.textContent = steps[i]);
    ends.setAttribute("visibility", "hidden");
  };
  return { node, x, y, cursor, nearest, point: (i) => { ends.setAttribute("visibility", "visible"); point(i); } };
}

function path(values, x, y) {
  const points = values.flatMap((v, i) => (v === null ? [] : [`${x(i).toFixed(1)},${y(v).toFixed(1)}`]));
  return points.length ? `M${points.join("L")}` : "";
}

function band(low, high, x, y) {
  const indices = low.map((_, i) => i).filter((i) => low[i] !== null && high[i] !== null);
  const points = (order, values) => order.map((i) => `${x(i).toFixed(1)},${y(values[i]).toFixed(1)}`);
  return indices.length ? `M${[...points(indices, high), ...points([...indices].reverse(), low)].join("L")}Z` : "";
}

// The last value at or before point i.
function latest(values, i) {
  for (let at = i; at >= 0; at--) if (values[at] !== null) return values[at];
  return null;
}

// Names for a legend, without a first part that all share: `part/format` is `format`.
function labels(names) {
  if (names.length < 2) return [""];
  const parts = names.map((name) => name.split("/"));
  return parts.map((p) => (parts.every((q) => q[0] === parts[0][0]) ? p.slice(1).join("/") : p.join("/")).replaceAll("_", " "));
}

// Title, legend and read-out in one: the value at the cursor, or the last one.
function caption(title, subtitle, series) {
  const names = labels(series.map((s) => s.name));
  const values = series.map(() => html("b"));
  const items = series.map((s, i) => html("li", { class: `c${s.colour ?? i % 6}` }, names[i] ? html("i") : null, names[i] ? html("span", {}, names[i]) : null, values[i]));
  const node = html("figcaption", {}, html("h3", {}, title), html("p", { title: subtitle }, subtitle), html("ul", {}, items));
  const read = (i, last) => series.forEach((s, at) => (values[at].textContent = format(latest(s.values, i ?? last))));
  return { node, read };
}

function lineChart(chart, steps, width, isSmooth) {
  const { series } = chart, all = series.flatMap((s) => [...s.values, ...(s.low ?? []), ...(s.high ?? [])]).filter((v) => v !== null);
  const scale = all.length ? (chart.scale === "log" ? logScale : linearScale)(all) : linearScale([0]);
  const { node, x, y, cursor, nearest, point } = frame(width, 148, steps, scale);
  const dots = series.map((s, i) => svg("circle", { class: `dot c${i % 6}`, r: 3 }));
  series.forEach((s, i) => {
    const count = s.values.filter((v) => v !== null).length, addSmooth = isSmooth && chart.smooth && count >= 50, isSparse = count <= 40;
    const layer = svg("g", { class: `c${i % 6}` });
    if (s.low && s.high) layer.append(svg("path", { class: "band", d: band(s.low, s.high, x, y) }));
    layer.append(svg("path", { class: addSmooth ? "raw" : "line", d: path(s.values, x, y) }));
    if (addSmooth) layer.append(svg("path", { class: "line", d: path(smooth(s.values, scale), x, y) }));
    if (isSparse) s.values.forEach((v, at) => v !== null && layer.append(svg("circle", { class: "mark", r: 2, cx: x(at), cy: y(v) })));
    node.append(layer);
  });
  cursor.append(...dots);
  node.append(cursor);
  const { node: head, read } = caption(chart.title, chart.subtitle, series);
  const focus = (i) => {
    point(i), read(i, steps.length - 1);
    if (i !== null) series.forEach((s, at) => {
      const value = s.values[i];
      dots[at].setAttribute("visibility", value === null ? "hidden" : "inherit");
      if (value !== null) dots[at].setAttribute("cx", x(i)), dots[at].setAttribute("cy", y(value));
    });
  };
  return { figure: html("figure", {}, head, node), node, nearest, focus };
}

// Phases of a step stacked on each other. A phase has the same colour in every stage.
function phaseChart(phases, steps, width) {
  const order = ["generate", "verify", "logprobs", "update", "sync", "other"];
  const series = phases.map((p, i) => ({ ...p, colour: p.name === "other" ? "other" : (order.includes(p.name) ? order.indexOf(p.name) : i) % 6 }));
  const tops = [steps.map(() => 0)];
  for (const s of series) tops.push(s.values.map((v, i) => tops[tops.length - 1][i] + (v ?? 0)));
  const { node, x, y, cursor, nearest, point } = frame(width, 190, steps, linearScale([0, ...tops[tops.length - 1]]));
  series.forEach((s, i) => node.append(svg("path", { class: `area c${s.colour}`, d: steps.length < 2
    ? `M${x(0) - 20},${y(tops[i][0])}H${x(0) + 20}V${y(tops[i + 1][0])}H${x(0) - 20}Z` : band(tops[i], tops[i + 1], x, y) })));
  node.append(cursor);
  const { node: head, read } = caption("Time per step", "seconds, by phase", series);
  return { figure: html("figure", { class: "wide" }, head, node), node, nearest, focus: (i) => (point(i), read(i, steps.length - 1)) };
}

function drawStage(place) {
  const stage = data.stages[Number(place.dataset.stage)], { steps } = stage, last = steps.length - 1;
  let isSmooth = true, charts = [], cursor = null;
  const focus = (i) => { cursor = i; for (const chart of charts) chart.focus(i); }; // all charts of a stage move together
  function draw() {
    const whole = place.clientWidth, gap = 20, columns = Math.max(1, Math.floor((whole + gap) / (270 + gap)));
    const width = Math.floor((whole - gap * (columns - 1)) / columns);
    charts = stage.charts.map((chart) => lineChart(chart, steps, width, isSmooth));
    if (stage.phases.length) charts.push(phaseChart(stage.phases, steps, whole));
    for (const { node, nearest } of charts) {
      node.addEventListener("pointermove", (event) => focus(nearest(event)));
      node.addEventListener("pointerleave", () => focus(null));
    }
    const box = html("input", { type: "checkbox", onchange: () => { isSmooth = box.checked; draw(); } });
    box.checked = isSmooth;
    const note = stage.steps_per_point > 1 ? html("span", {}, `each point is the mean of ${stage.steps_per_point} steps`) : null;
    const bar = html("div", { class: "bar" }, note, steps.length >= 50 ? html("label", {}, box, "smooth") : null);
    place.style.setProperty("--columns", columns);
    place.replaceChildren(...(bar.childNodes.length ? [bar] : []), ...charts.map((chart) => chart.figure));
    focus(null);
  }
  place.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") focus(null);
    if (!move || event.target !== place) return;
    focus(Math.max(0, Math.min(last, (cursor ?? (move > 0 ? -1 : last + 1)) + move)));
    event.preventDefault();
  });
  let width = 0; // drawing changes the height alone, which must not draw again
  new ResizeObserver(() => { if (place.clientWidth !== width) { width = place.clientWidth; draw(); } }).observe(place);
}

// ---- samples -----------------------------------------------------------------------------------------------------

function mark(text, query) {
  if (!query || !text) return [text ?? ""];
  const parts = [], lower = text.toLowerCase();
  let from = 0;
  for (let hit = lower.indexOf(query); hit >= 0; hit = lower.indexOf(query, from)) {
    parts.push(text.slice(from, hit), html("mark", {}, text.slice(hit, hit + query.length)));
    from = hit + query.length;
  }
  return [...parts, text.slice(from)];
}

function players(names) {
  const clips = names.map((name) => data.clips[name]); // undefined for a clip that did not fit on the page
  return clips.map((clip, i) => html("figure", { class: "clip" },
    html("figcaption", {}, `sound ${i + 1}${clip ? ` · ${format(clip.seconds)} s` : " · in the run’s clips folder"}`),
    clip ? html("img", { src: clip.image, alt: "mel spectrogram" }) : null,
    clip ? html("audio", { src: clip.audio, controls: "", preload: "metadata" }) : null));
}

function exchanges(list, block) {
  const paid = (e) => (e.reward === null ? "" : ` · reward ${format(e.reward)}`);
  return list.flatMap((e, i) => [block("turn", `Turn ${i + 1}`, e.text),
    block("reply", `Reply${e.note ? ` · ${e.note}` : ""}${paid(e)}`, e.reply || "(goes on)"), ...players(e.clips)]);
}

function sampleBody(sample, query) {
  const block = (kind, name, text) => (text ? html("div", { class: kind }, html("h4", {}, name), html("pre", {}, mark(text, query))) : null);
  const facts = [
    ...Object.entries(sample.parts).map(([name, value]) => [name, format(value)]),
    ["tokens", format(sample.tokens)], ["finish reason", sample.finish_reason], ["mean logprob", format(sample.logprob)],
    ["policy version", String(sample.version)], ["sample", String(sample.sample)], ["id", sample.id], ["source", sample.source],
  ].filter(([, value]) => value);
  return html("div", { class: "body" },
    html("div", { class: "question" }, block("prompt", "Prompt", sample.prompt), players(sample.clips), block("gold", "Gold answer", sample.gold),
      html("dl", {}, facts.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, mark(value, query)))))),
    html("div", { class: "output" }, block("error", "Error", sample.error), ...exchanges(sample.exchanges, block), block("think", "Thinking", sample.think),
      block("response", "Response", sample.response || (sample.finish_reason === "length" ? "(cut off before an answer)" : "(empty)")),
      block("reason", "Verdict", sample.reason)));
}

function browse(place) {
  const all = data.rollouts.map((sample) => ({ ...sample, searchText:
    [sample.prompt, sample.think, sample.response, sample.gold, sample.reason, sample.error, sample.id,
      ...sample.exchanges.flatMap((e) => [e.text, e.reply])].join("\n").toLowerCase() }));
  const scores = all.map((s) => s.score).filter((s) => s !== null), low = Math.min(...scores), high = Math.max(...scores);
  const options = (values, label) => [html("option", { value: "" }, label), ...values.map((v) => html("option", { value: v }, String(v)))];
  const picks = ["all", ...["best", "worst", "errored"].filter((name) => all.some((s) => s.pick === name))];
  let pick = "all";
  const stages = [...new Set(all.map((s) => s.stage))];
  const stage = html("select", { "aria-label": "stage", onchange: () => { steps(); show(); } }, options(stages, "all stages"));
  const step = html("select", { "aria-label": "step", onchange: () => show() });
  const search = html("input", { type: "search", placeholder: "search the text", "aria-label": "search the text", oninput: () => show() });
  const buttons = picks.map((name) => html("button", { type: "button", onclick: () => { pick = name; show(); } }, name));
  const count = html("output"), list = html("div", { class: "list" });
  const inStage = (s) => !stage.value || s.stage === stage.value;
  const steps = () => step.replaceChildren(...options([...new Set(all.filter(inStage).map((s) => s.step))].sort((a, b) => a - b), "all steps"));

  function row(sample, query) {
    const shade = sample.score === null ? 0 : high > low ? (sample.score - low) / (high - low) : 0; // equal scores are neither good nor bad
    const score = sample.error !== null ? html("span", { class: "score errored" }, "error")
      : html("span", { class: "score", style: `--shade:${Math.round(8 + 70 * shade)}%` }, format(sample.score));
    const line = (text) => mark((text ?? "").slice(0, 200).replace(/\s+/g, " "), query);
    const node = html("details", {}, html("summary", {}, score,
      html("span", { class: "where" }, `${sample.stage} · ${sample.step}`), html("span", { class: "line" }, line(sample.prompt)),
      html("span", { class: "line answer" }, line(sample.error ?? (sample.response || sample.think))), html("span", { class: "tokens" }, `${format(sample.tokens)} tok`)));
    // A body is built when it is first opened: 300 at once would make the page slow.
    node.addEventListener("toggle", () => node.open && node.children.length < 2 && node.append(sampleBody(sample, query)));
    return node;
  }
  function show() {
    const query = search.value.trim().toLowerCase();
    const matches = all.filter((s) => inStage(s) && (!step.value || s.step === Number(step.value)) &&
      (pick === "all" || s.pick === pick) && (!query || s.searchText.includes(query)));
    if (pick === "best" || pick === "worst") matches.sort((a, b) => (pick === "best" ? b.score - a.score : a.score - b.score));
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", picks[i] === pick));
    count.textContent = `${matches.length} of ${all.length}`;
    list.replaceChildren(...(matches.length ? matches.map((sample) => row(sample, query)) : [html("p", { class: "none" }, "No sample matches.")]));
  }
  steps();
  place.append(html("div", { class: "filters" }, picks.length > 1 ? html("div", { class: "picks", role: "group" }, buttons) : null, stages.length > 1 ? stage : null, step, search, count), list);
  show();
}

document.querySelectorAll(".curves").forEach(drawStage);
document.querySelectorAll("#browser").forEach(browse);
document.querySelectorAll("[data-clips]").forEach((place) => place.append(...players(place.dataset.clips.split(" ").filter(Boolean))));

// ---- a run that goes on ----------------------------------------------------------------------------------------------

// The file is written again while the run goes on: the page loads it again, unless somebody is reading a part of it.
function isRead() {
  const filters = [...document.querySelectorAll("#browser select, #browser input")];
  return document.hidden || document.querySelector("details[open]") || filters.some((filter) => filter.value) ||
    [...document.querySelectorAll("audio")].some((sound) => !sound.paused);
}
if (document.querySelector("main").dataset.status === "running") setInterval(() => isRead() || location.reload(), 10000);
