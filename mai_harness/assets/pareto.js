"use strict";
// Runtime against fidelity, by Observable Plot: one backend at a time, and the entries that the ranking shows.

{
  const place = document.getElementById("pareto");
  const form = document.getElementById("pareto-tools");
  const LONGEST = 24; // characters of a label
  if (place && form) {
    const entries = JSON.parse(document.getElementById("points").textContent);
    let visible = new Set(entries.map((entry) => entry.slug));

    const frontOf = (points) => {
      const front = [];
      for (const point of points.filter((each) => each.rank).sort((a, b) => a.ms - b.ms || b.db - a.db)) {
        if (!front.length || point.db > front.at(-1).db) front.push(point);
      }
      return front;
    };

    const pointsOf = (precision) =>
      entries.flatMap((entry) => {
        const point = entry.points[precision][form.elements.backend.value];
        return point && visible.has(entry.slug) ? [{ ...entry, ms: point[0], db: point[1] }] : [];
      });

    const near = (points, front) =>
      points.filter((point) => front.some((each) => point.db > each.db - 0.5 && point.ms < each.ms * 2));

    const draw = () => {
      let int8 = pointsOf("int8");
      const front = frontOf(int8);
      if (form.elements.best.checked) int8 = near(int8, front);
      const slugs = new Set(int8.map((point) => point.slug));
      const fp32 = form.elements.fp32.checked ? pointsOf("fp32").filter((point) => slugs.has(point.slug)) : [];
      const from = new Map(int8.map((point) => [point.slug, point]));
      const ties = fp32.map((point) => ({ x1: point.ms, y1: point.db, x2: from.get(point.slug).ms, y2: from.get(point.slug).db }));
      const all = [...int8, ...fp32].map((point) => point.ms);
      const [least, most] = [Math.min(...all), Math.max(...all)];
      const type = most > 4 * least ? "log" : "linear";
      const link = (point) => `entries/${encodeURIComponent(point.slug)}.html`;
      const words = (point) => `${point.title}\n${point.db.toFixed(2)} dB, ${point.ms.toFixed(1)} ms`;
      const named = int8.length <= 24 ? int8 : front;
      const narrow = place.clientWidth < 600;
      const along = type === "log" ? Math.log : Number;
      const isLate = ({ ms }) => along(ms) - along(least) > (narrow ? 0.4 : 0.8) * (along(most) - along(least));
      const short = ({ title }) => ([...title].length > LONGEST ? `${[...title].slice(0, LONGEST - 1).join("")}…` : title);
      const label = (points, textAnchor, dx) =>
        Plot.text(points, { x: "ms", y: "db", text: short, dx, textAnchor, stroke: "var(--paper)", fill: "currentColor", href: link });
      const chart = Plot.plot({
        ariaLabel: document.getElementById("plot").textContent,
        width: place.clientWidth,
        height: narrow ? 400 : 460,
        marginTop: 32,
        marginLeft: 48,
        marginRight: narrow ? 24 : 120,
        marginBottom: 44,
        style: { background: "none", fontSize: "13px", overflow: "visible" },
        x: { type, label: place.dataset.runtime, nice: true, tickFormat: "~g", ticks: narrow ? 3 : 6 },
        y: { label: place.dataset.psnr, nice: true, grid: true },
        marks: [
          Plot.line(front, { x: "ms", y: "db", curve: "step-after", strokeOpacity: 0.5 }),
          Plot.link(ties, { x1: "x1", y1: "y1", x2: "x2", y2: "y2", strokeDasharray: "2 3", strokeOpacity: 0.6 }),
          Plot.dot(fp32, { x: "ms", y: "db", r: 4, fill: "var(--paper)", stroke: "currentColor" }),
          Plot.dot(int8.filter((point) => point.rank), { x: "ms", y: "db", r: 5, fill: "currentColor", href: link, ariaLabel: words }),
          Plot.dot(int8.filter((point) => !point.rank), { x: "ms", y: "db", r: 5, symbol: "times", stroke: "var(--accent)", strokeWidth: 2, href: link, ariaLabel: words }),
          label(named.filter((point) => !isLate(point)), "start", 9),
          label(named.filter(isLate), "end", -9),
          Plot.tip(int8, Plot.pointer({ x: "ms", y: "db", title: words, fill: "var(--paper)", stroke: "var(--soft)" })),
        ],
      });
      // Names of groups that have no role say nothing to a screen reader.
      for (const group of chart.querySelectorAll("g[aria-label]")) group.removeAttribute("aria-label");
      place.replaceChildren(int8.length ? chart : "");
    };

    // Plot would pin its tip where the pointer goes down, and the click would meet the tip instead of the link.
    place.addEventListener("pointerdown", (event) => event.stopPropagation(), { capture: true });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => {
      draw();
      board.remember();
    });
    form.hidden = place.hidden = false;
    document.querySelector(".pareto .still").classList.add("replaced");
    board.whenFiltered((slugs) => {
      visible = slugs;
      draw();
    });
    let width = place.clientWidth;
    new ResizeObserver(() => {
      if (place.clientWidth !== width) {
        width = place.clientWidth;
        draw();
      }
    }).observe(place);
  }
}
