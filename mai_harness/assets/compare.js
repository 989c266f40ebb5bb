"use strict";
// Fills what the page shows of two entries anew for any other two. The words, the rows and the order of things are the
// page's own; render/paired.py computes the same for the two that it begins with.
(() => {
  const block = document.getElementById("data");
  if (!block) return;
  const data = JSON.parse(block.textContent);
  const byId = (id) => document.getElementById(id);
  const controls = { a: byId("entry-a"), b: byId("entry-b"), metric: byId("measure") };
  const MISSING = "\u2013";
  const MINUS = "\u2212";

  // Numbers as Python writes them: the forms of the board's columns and of the metrics are [z][,].<digits>(f|g).

  const general = (size, digits) => {
    if (size === 0) return "0";
    const [mantissa, power] = size.toExponential(digits - 1).split("e");
    const exponent = Number(power);
    const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
    if (exponent >= -4 && exponent < digits) return trimmed(size.toFixed(digits - 1 - exponent));
    return `${trimmed(mantissa)}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  };

  const number = (value, form, plus = "") => {
    if (value === null || !Number.isFinite(value)) return MISSING;
    const [, comma, digits, kind] = /^z?(,?)\.(\d+)([fg])$/.exec(form);
    const size = Math.abs(value);
    let text = kind === "f" ? size.toFixed(Number(digits)) : general(size, Number(digits));
    if (comma) text = text.replace(/^\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
    const negative = value < 0 && /[1-9]/.test(text);
    return ((negative ? "-" : plus) + text).replaceAll("-", MINUS);
  };

  // The page never shows these characters; see render/page.py.
  const UNPRINTABLE =
    /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u{d800}-\u{dfff}]/gu;
  const write = (element, text) => {
    element.textContent = String(text).replace(UNPRINTABLE, "\ufffd");
  };

  const fill = (name, text) => {
    for (const element of document.querySelectorAll(`[data-fill="${name}"]`)) write(element, text);
  };

  // Statistics, as in render/paired.py

  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  const common = (a, b, measure) => {
    if (a.set === null || a.set !== b.set) return [];
    const [x, y] = [a.images[measure.key], b.images[measure.key]];
    return data.sets[a.set - 1]
      .map((name, i) => ({ name, a: x[i], b: y[i], difference: y[i] - x[i] }))
      .filter((image) => image.a !== null && image.b !== null);
  };

  const paired = (images) => {
    const n = images.length;
    if (n < 2) return null;
    const differences = images.map((image) => image.difference);
    const middle = mean(differences);
    const deviation = Math.sqrt(differences.reduce((sum, d) => sum + (d - middle) ** 2, 0) / (n - 1));
    const half = (data.t[n - 2] * deviation) / Math.sqrt(n);
    const higher = differences.filter((d) => d > 0).length;
    const lower = differences.filter((d) => d < 0).length;
    return { n, mean: middle, low: middle - half, high: middle + half, deviation, higher, lower, equal: n - higher - lower };
  };

  const stateOf = (a, b, found) => {
    if (a === b) return "same";
    if (a.set === null || b.set === null) return "unscored";
    if (a.set !== b.set) return "apart";
    if (found === null) return "few";
    if (found.low <= 0 && found.high >= 0) return "unshown";
    return found.mean > 0 ? "up" : "down";
  };

  // Axes in per cent

  const axis = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = 0.06 * (high - low) || 0.01 * Math.max(Math.abs(low), Math.abs(high)) || 0.01;
    const [start, end] = [low - margin, high + margin];
    return { low: start, high: end, at: (value) => ((value - start) / (end - start)) * 100 };
  };

  const ticksOf = ({ low, high }) => {
    const least = (high - low) / 3;
    const power = 10 ** Math.floor(Math.log10(least));
    const step = [1, 2, 5, 10].map((m) => m * power).find((size) => size >= least);
    const first = Math.ceil(low / step);
    return Array.from({ length: 12 }, (_, i) => step * (first + i)).filter((value) => low <= value && value <= high);
  };

  const percent = (value) => `${value.toFixed(2)}%`;

  const drawTicks = (head, scale) => {
    const ticks = ticksOf(scale).map((value) => {
      const tick = document.createElement("span");
      tick.style.left = percent(scale.at(value));
      write(tick, number(value, ".6g"));
      return tick;
    });
    head.querySelector(".ticks").replaceChildren(...ticks);
  };

  // The page

  const showOutcome = (a, b, measure, images, found, state) => {
    const better = state === "up" || state === "down" ? ((state === "up") !== measure.lower ? "b" : "a") : null;
    for (const each of byId("outcome").querySelectorAll("[data-state]")) {
      const fits = each.dataset.state.split(" ").includes(state);
      each.hidden = !fits || (each.dataset.better !== undefined && each.dataset.better !== better);
    }
    for (const key of ["mean", "low", "high"]) fill(key, number(found && found[key], measure.form, "+"));
    fill("deviation", number(found && found.deviation, measure.form));
    for (const key of ["n", "higher", "lower", "equal"]) fill(key, found ? found[key] : 0);
    const leftOut = a.set === null ? 0 : data.sets[a.set - 1].length - images.length;
    fill("left-out", leftOut);
    byId("left-out").hidden = leftOut === 0;
    byId("less-is-better").hidden = !measure.lower;
    byId("unlike-runtimes").hidden = alike({ byRuntime: true }, a, b);
  };

  const showNames = (side, entry) => {
    fill(side, entry.title);
    fill(`set-${side}`, entry.set ?? MISSING);
    fill(`stage-${side}`, entry.stopped ?? MISSING);
    byId(`unscored-${side}`).hidden = entry.set !== null;
    byId(`stopped-${side}`).hidden = entry.stopped === null;
    const link = document.querySelector(`[data-link="${side}"]`);
    link.setAttribute("href", `entries/${encodeURIComponent(entry.slug)}.html`);
  };

  const unlike = (x, y) => x !== null && y !== null && x !== y;
  const alike = (column, a, b) =>
    !(column.byImages && unlike(a.set, b.set)) && !(column.byRuntime && unlike(a.way, b.way));

  const showFigure = (cell, [, text, note, alert], better) => {
    cell.classList.toggle("best", better);
    cell.querySelector(".better").hidden = !better;
    write(cell.querySelector(".text"), text);
    const remark = cell.querySelector(".note");
    write(remark, note);
    remark.hidden = note === "";
    remark.classList.toggle("alert", alert);
  };

  const showFigures = (a, b) => {
    for (const row of document.querySelectorAll("#figures [data-line]")) {
      const column = data.columns[row.dataset.line];
      const [x, y] = [a.figures[row.dataset.line], b.figures[row.dataset.line]];
      const known = x[0] !== null && y[0] !== null && alike(column, a, b);
      const distinct = known && column.direction !== "none" && x[1] !== y[1];
      const better = distinct ? (y[0] > x[0] === (column.direction === "higher") ? "b" : "a") : null;
      showFigure(row.querySelector('[data-side="a"]'), x, better === "a");
      showFigure(row.querySelector('[data-side="b"]'), y, better === "b");
      write(row.querySelector(".difference"), number(known ? y[0] - x[0] : null, column.form, "+"));
    }
  };

  const stretch = (element, start, end) => {
    element.style.left = percent(Math.min(start, end));
    element.style.width = percent(Math.abs(end - start));
  };

  /** `from` and `to`: the interval of the difference, or zero and the difference. */
  const fillRow = (row, image, [from, to], form, figures, differences) => {
    const [both, apart] = row.querySelectorAll(".track");
    const [x, y] = [figures.at(image.a), figures.at(image.b)];
    stretch(both.querySelector(".line"), x, y);
    both.querySelector(".dot.a").style.left = percent(x);
    both.querySelector(".dot.b").style.left = percent(y);
    stretch(apart.querySelector(".line"), differences.at(from), differences.at(to));
    apart.querySelector(".dot").style.left = percent(differences.at(image.difference));
    write(row.querySelector('[data-side="a"]'), number(image.a, form));
    write(row.querySelector('[data-side="b"]'), number(image.b, form));
    write(row.querySelector(".difference"), number(image.difference, form, "+"));
  };

  const showImages = (images, found, measure) => {
    const table = byId("images");
    const figures = axis(images.flatMap((image) => [image.a, image.b]));
    const differences = axis([0, found.low, found.high, ...images.map((image) => image.difference)]);
    const rows = [...images].sort((left, right) => right.difference - left.difference).map((image) => {
      const row = byId("image-row").content.querySelector("tr").cloneNode(true);
      write(row.querySelector("th"), image.name);
      fillRow(row, image, [0, image.difference], measure.form, figures, differences);
      return row;
    });
    table.tBodies[0].replaceChildren(...rows);
    const means = { a: mean(images.map((i) => i.a)), b: mean(images.map((i) => i.b)), difference: found.mean };
    fillRow(table.tFoot.rows[0], means, [found.low, found.high], measure.form, figures, differences);
    const heads = table.tHead.querySelectorAll(".axis-head");
    drawTicks(heads[0], figures);
    drawTicks(heads[1], differences);
    table.style.setProperty("--zero", percent(differences.at(0)));
  };

  const show = () => {
    const [a, b] = [data.entries[controls.a.value], data.entries[controls.b.value]];
    const measure = data.measures[controls.metric.value];
    const images = common(a, b, measure);
    const found = paired(images);
    const state = stateOf(a, b, found);
    showNames("a", a);
    showNames("b", b);
    fill("measure", controls.metric.selectedOptions[0].textContent);
    fill("unit", measure.unit);
    fill("spaced-unit", measure.unit && ` ${measure.unit}`);
    showOutcome(a, b, measure, images, found, state);
    showFigures(a, b);
    const drawn = ["up", "down", "unshown"].includes(state);
    byId("paired").hidden = !drawn;
    if (drawn) showImages(images, found, measure);
  };

  // The address says what is shown: #a=slug&b=slug&metric=key

  const places = (several, key) => new Map(several.map((each, place) => [each[key], String(place)]));
  const known = { a: places(data.entries, "slug"), metric: places(data.measures, "key") };
  known.b = known.a;

  const address = (a, b, metric) =>
    `#${new URLSearchParams({ a: data.entries[a].slug, b: data.entries[b].slug, metric: data.measures[metric].key })}`;

  const follow = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    const wanted = Object.keys(controls).filter((key) => asked.has(key));
    const unknown = wanted.filter((key) => !known[key].has(asked.get(key)));
    for (const key of wanted) controls[key].value = known[key].get(asked.get(key)) ?? controls[key].value;
    write(document.querySelector('[data-fill="unknown"]'), unknown.map((key) => `${key}=${asked.get(key)}`).join(", "));
    byId("unknown").hidden = unknown.length === 0;
    if (wanted.length) show();
  };

  const go = (a, b, metric) => {
    location.hash = address(a, b, metric);
  };

  for (const control of Object.values(controls)) {
    control.addEventListener("change", () => go(controls.a.value, controls.b.value, controls.metric.value));
  }
  byId("swap").addEventListener("click", () => go(controls.b.value, controls.a.value, controls.metric.value));
  addEventListener("hashchange", follow);

  for (const row of document.querySelectorAll("#rungs [data-above]")) {
    const link = document.createElement("a");
    link.className = "pick";
    link.setAttribute("href", address(row.dataset.above, row.dataset.entry, controls.metric.value));
    write(link, byId("rungs").dataset.pick);
    link.addEventListener("click", () => byId("pair").scrollIntoView());
    row.querySelector(".verdict").append(link);
  }
  byId("controls").hidden = false;
  show(); // a browser that comes back to a page keeps what was selected
  follow();
})();
