"use strict";
(() => {
  const STEPS = [1, 2, 3, 4, 5, 6, 8, 12]; // CSS pixels to a pixel of the picture
  const TALLEST = 640; // CSS pixels of a frame at first
  const GAP = 16; // CSS pixels between frames side by side
  const FLICKER = 500; // milliseconds for which each picture is shown
  const WIDE = 44 * 16; // CSS pixels from which three frames stand side by side

  const template = document.getElementById("viewer-controls");
  if (!template) return;
  const together = document.getElementById("zoom-together");
  const phone = matchMedia("(max-width: 30rem)");
  const viewers = new Map(); // by figure
  let leader = null; // the viewer that a person uses, which the others follow
  let common = null; // zoom and place of all, when they go together

  const clamp = (value, limit) => Math.min(Math.max(value, -limit), limit);

  class Viewer {
    constructor(figure) {
      this.figure = figure;
      this.stage = figure.querySelector(".stack");
      this.layers = [...figure.querySelectorAll(".layer")];
      this.width = Number(this.stage.dataset.width);
      this.height = Number(this.stage.dataset.height);
      this.at = { scale: 1, x: 0, y: 0 }; // x and y are in pixels of the picture, from the middle
      this.sides = { left: this.stage.dataset.left, right: this.stage.dataset.right };
      this.pointers = new Set();
      figure.classList.add("live");
      this.mark();
    }

    // The frame: as large as the picture at the greatest whole zoom that fits.

    layout() {
      const wasFit = this.at.scale === this.fit || !this.fit;
      const space = this.space();
      const fits = (step) => step * this.width <= space && step * this.height <= TALLEST;
      this.fit = STEPS.findLast(fits) ?? 1;
      this.frame = { width: Math.min(this.width * this.fit, space), height: this.height * this.fit };
      this.figure.style.setProperty("--frame-width", `${this.frame.width}px`);
      this.figure.style.setProperty("--frame-height", `${this.frame.height}px`);
      const at = wasFit ? { ...this.at, scale: this.fit } : this.at;
      if (this.panzoom) this.place(at);
      else this.settle(at);
    }

    space() {
      const apart = this.figure.classList.contains("apart");
      if (!apart) return phone.matches ? document.documentElement.clientWidth : this.figure.clientWidth;
      const across = this.figure.clientWidth < WIDE ? 2 : 3;
      return Math.floor((this.figure.clientWidth - (across - 1) * GAP) / across);
    }

    // Zoom and place, which all layers share.

    place({ scale, x, y }) {
      this.panzoom.zoom(scale);
      this.panzoom.pan(x, y);
    }

    settle({ scale, x, y }) {
      const limit = (picture, frame) => Math.max(0, picture * scale - frame) / 2 / scale;
      this.at = {
        scale,
        x: clamp(x, limit(this.width, this.frame.width)),
        y: clamp(y, limit(this.height, this.frame.height)),
      };
      if (this.panzoom && (this.at.x !== x || this.at.y !== y)) this.panzoom.pan(this.at.x, this.at.y);
      this.show();
      if (together.checked && leader === this) this.lead();
    }

    show() {
      const { scale, x, y } = this.at;
      const whole = (value) => `${Math.round(value * scale) / scale}px`;
      this.figure.style.setProperty("--zoom", scale);
      this.figure.style.setProperty("--x", whole(x));
      this.figure.style.setProperty("--y", whole(y));
      this.stage.classList.toggle("zoomed", this.isZoomed());
      if (this.output) this.output.textContent = `${Math.round(scale * 10) / 10}×`;
    }

    isZoomed() {
      const { scale } = this.at;
      return this.width * scale > this.frame.width || this.height * scale > this.frame.height;
    }

    lead() {
      common = this.at;
      for (const other of viewers.values()) if (other !== this && other.panzoom) other.place(common);
    }

    zoom(scale, point) {
      if (scale === undefined) return;
      if (point) this.panzoom.zoomToPoint(scale, point);
      else this.panzoom.zoom(scale);
    }

    larger() {
      return STEPS.find((step) => step > this.at.scale + 0.01);
    }

    smaller() {
      return STEPS.findLast((step) => step < this.at.scale - 0.01);
    }

    // Which two layers are compared, and where the line between them is.

    mark() {
      for (const layer of this.layers) {
        layer.classList.toggle("left", layer.dataset.key === this.sides.left);
        layer.classList.toggle("right", layer.dataset.key === this.sides.right);
      }
    }

    choose(side, key) {
      const other = side === "left" ? "right" : "left";
      if (key === this.sides[other]) this.sides[other] = this.sides[side];
      this.sides[side] = key;
      for (const select of this.selects) select.value = this.sides[select.dataset.side];
      this.mark();
    }

    split(share) {
      this.stage.style.setProperty("--split", `${share}%`);
    }

    splitAt(event) {
      const box = this.stage.getBoundingClientRect();
      this.splitInto((100 * (event.clientX - box.left)) / box.width);
    }

    splitInto(share) {
      this.range.value = share;
      this.split(this.range.value);
    }

    flicker(on) {
      clearInterval(this.timer);
      if (on && this.figure.classList.contains("apart")) this.apart(false);
      this.figure.classList.toggle("flickers", on);
      this.button("flicker").setAttribute("aria-pressed", on);
      let side = "right";
      const turn = () => {
        side = side === "left" ? "right" : "left";
        this.split(side === "left" ? 100 : 0);
        for (const select of this.selects) select.parentElement.classList.toggle("shown", select.dataset.side === side);
      };
      if (on) {
        turn();
        this.timer = setInterval(turn, FLICKER);
      } else {
        this.split(this.range.value);
        for (const select of this.selects) select.parentElement.classList.remove("shown");
      }
    }

    apart(on) {
      const button = this.button("apart");
      const before = button.getBoundingClientRect().top;
      if (on) this.flicker(false);
      this.figure.classList.toggle("apart", on);
      button.setAttribute("aria-pressed", on);
      this.layout();
      scrollBy({ top: button.getBoundingClientRect().top - before, behavior: "instant" });
    }

    // Controls and gestures, made when the figure comes near.

    build() {
      const parts = template.content.cloneNode(true);
      const words = parts.querySelector(".stage-words").textContent;
      const name = this.figure.querySelector("h4").textContent;
      this.output = parts.querySelector("output");
      this.range = parts.querySelector("input");
      this.selects = [...parts.querySelectorAll("select")];
      this.fillSelects();
      this.figure.querySelector(".viewer-controls").append(...parts.querySelectorAll(".viewer-buttons, .sides"));
      this.figure.querySelector(".viewer-slide").append(parts.querySelector(".slider"));
      this.stage.append(parts.querySelector(".divider"));
      Object.assign(this.stage, { tabIndex: 0, role: "group", ariaLabel: `${name}. ${words}` });
      const start = (together.checked && common) || this.at;
      this.panzoom = Panzoom(this.layers[0].querySelector(".sheet"), {
        noBind: true, cursor: "", overflow: "", touchAction: "", handleStartEvent: () => {},
        minScale: STEPS[0], maxScale: STEPS.at(-1), step: 2,
        startScale: start.scale, startX: start.x, startY: start.y,
        setTransform: (_, at) => this.settle(at),
      });
      this.listen();
    }

    fillSelects() {
      for (const select of this.selects) {
        for (const layer of this.layers) {
          const words = layer.querySelector("figcaption").textContent.trim().replace(/\s+/g, " ");
          select.append(new Option(words, layer.dataset.key));
        }
        select.value = this.sides[select.dataset.side];
        select.addEventListener("change", () => this.choose(select.dataset.side, select.value));
      }
    }

    button(what) {
      return this.figure.querySelector(`[data-do="${what}"]`);
    }

    isPressed(what) {
      return this.button(what).getAttribute("aria-pressed") === "true";
    }

    listen() {
      for (const type of ["pointerdown", "keydown", "wheel", "click"]) {
        this.figure.addEventListener(type, () => { leader = this; }, { capture: true, passive: true });
      }
      const actions = {
        flicker: () => this.flicker(!this.isPressed("flicker")),
        apart: () => this.apart(!this.isPressed("apart")),
        in: () => this.zoom(this.larger()),
        out: () => this.zoom(this.smaller()),
        true: () => this.zoom(1),
      };
      for (const [what, act] of Object.entries(actions)) this.button(what).addEventListener("click", act);
      this.range.addEventListener("input", () => this.split(this.range.value));
      this.figure.addEventListener("keydown", (event) => this.key(event));
      this.stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
      this.stage.addEventListener("dragstart", (event) => event.preventDefault());
      this.stage.addEventListener("pointerdown", (event) => this.down(event));
      this.stage.addEventListener("pointermove", (event) => this.move(event));
      for (const type of ["pointerup", "pointercancel"]) this.stage.addEventListener(type, (event) => this.up(event));
    }

    key(event) {
      if (event.target.matches("select") || event.ctrlKey || event.metaKey || event.altKey) return;
      const steps = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      const [x, y] = (event.target === this.stage && this.isZoomed() && steps[event.key]) || [0, 0];
      if (event.key === "f" || event.key === "F") this.flicker(!this.isPressed("flicker"));
      else if (event.key === "+" || event.key === "=") this.zoom(this.larger());
      else if (event.key === "-") this.zoom(this.smaller());
      else if (x || y) this.panzoom.pan((32 * x) / this.at.scale, (32 * y) / this.at.scale, { relative: true });
      else return;
      event.preventDefault();
    }

    wheel(event) {
      if (!event.ctrlKey || event.deltaY === 0) return;
      event.preventDefault();
      if (event.timeStamp - (this.wheeled ?? 0) < 80) return; // a touchpad sends many
      this.wheeled = event.timeStamp;
      this.shift = this.shiftFrom(event.target);
      this.zoom(event.deltaY < 0 ? this.larger() : this.smaller(), this.seen(event));
    }

    // Panzoom knows the first layer alone; what happens on another one is told as if it had happened there.

    shiftFrom(target) {
      const there = (target.closest(".frame") ?? this.stage).getBoundingClientRect();
      const first = this.layers[0].querySelector(".frame").getBoundingClientRect();
      return { x: first.left - there.left, y: first.top - there.top };
    }

    seen({ target, pointerId, clientX, clientY }) {
      return { target, pointerId, clientX: clientX + this.shift.x, clientY: clientY + this.shift.y };
    }

    down(event) {
      if (event.button !== 0) return;
      const onHandle = event.target.matches(".divider");
      if (this.pointers.size === 0) {
        this.shift = this.shiftFrom(event.target);
        const compares = !this.isPressed("apart") && !this.isPressed("flicker");
        this.splits = onHandle || (compares && !this.isZoomed());
        this.pinched = false;
      } else {
        this.splits = false;
        this.pinched = true;
      }
      this.pointers.add(event.pointerId);
      this.stage.setPointerCapture(event.pointerId);
      this.before = this.range.value;
      if (this.splits) this.splitAt(event);
      if (!onHandle) this.panzoom.handleDown(this.seen(event));
    }

    move(event) {
      if (!this.pointers.has(event.pointerId)) return;
      if (this.splits) this.splitAt(event);
      this.panzoom.handleMove(this.seen(event));
    }

    up(event) {
      if (!this.pointers.delete(event.pointerId)) return;
      this.panzoom.handleUp(this.seen(event));
      if (this.splits && event.type === "pointercancel") this.splitInto(this.before); // the page was scrolled
      const near = (step) => Math.abs(step - this.at.scale);
      if (this.pinched && this.pointers.size === 0) this.zoom(STEPS.reduce((a, b) => (near(b) < near(a) ? b : a)));
    }
  }

  for (const figure of document.querySelectorAll("figure.window")) viewers.set(figure, new Viewer(figure));
  const layout = () => {
    for (const viewer of viewers.values()) viewer.layout();
  };
  layout();
  addEventListener("resize", layout);
  together.closest(".together").hidden = false;

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((each) => each.isIntersecting)) {
      watcher.unobserve(entry.target);
      viewers.get(entry.target).build();
    }
  }, { rootMargin: "600px" });
  for (const figure of viewers.keys()) watcher.observe(figure);

  // The page has another height now than when the browser looked for the place that it was asked for.
  if (/^#window-\d+$/.test(location.hash)) document.getElementById(location.hash.slice(1))?.scrollIntoView();
})();
