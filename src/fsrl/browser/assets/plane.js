// The plane of skewness (asinh) and kurtosis (log) of a layer's features, drawn on a canvas.
"use strict";

// Matplotlib's cividis: told apart under colour blindness, and in grey.
const CIVIDIS = ["#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#9b9476", "#bbae6c", "#dcc95b", "#fee838"];
const TICKS_X = [-100, -50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100];
const TICKS_Y = [1, 1.5, 2, 3, 4, 6, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000];

function scaled(skewness, kurtosis) {
  const x = Float64Array.from(skewness, (value) => value === null ? NaN : Math.asinh(value));
  const y = Float64Array.from(kurtosis, (value) => value === null ? NaN : Math.log(value));
  return [x, y];
}

// The shape of a type at a place, added to the path.
function mark(path, marker, x, y, r) {
  if (marker === "s") path.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
  else if (marker === "x") { path.rect(x - r, y - 0.6, 2 * r, 1.2); path.rect(x - 0.6, y - r, 1.2, 2 * r); }
  else if (marker === "o") { path.moveTo(x + r, y); path.arc(x, y, r, 0, 2 * Math.PI); }
  else {
    const points = { D: [0, -1.3, 1.3, 0, 0, 1.3, -1.3, 0], "^": [0, -1.2, 1.2, 1, -1.2, 1], v: [0, 1.2, 1.2, -1, -1.2, -1] }[marker];
    path.moveTo(x + points[0] * r, y + points[1] * r);
    for (let i = 2; i < points.length; i += 2) path.lineTo(x + points[i] * r, y + points[i + 1] * r);
    path.closePath();
  }
}

function inside(polygon, x, y) {
  let found = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [a, b] = polygon[i], [c, d] = polygon[j];
    if (b > y !== d > y && x < (c - a) * (y - b) / (d - b) + a) found = !found;
  }
  return found;
}

class Plane {
  // chosen(polygon or null), opened(feature), moved(view): what to do when a person does something.
  constructor(canvas, tip, types, { chosen, opened, moved }) {
    Object.assign(this, { canvas, tip, types, chosen, opened, moved, mode: "pan", region: null, view: null, marked: -1 });
    this.drag = null;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => { this.drag = null; this.draw(); });
    canvas.addEventListener("pointerleave", () => this.point(-1));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.place(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // columns: of a layer; shown: Uint8Array, which features the filters keep (null: all).
  show(columns, bounds, label) {
    [this.x, this.y] = scaled(columns.skewness, columns.kurtosis);
    Object.assign(this, { type: columns.type, bounds, label, shown: null, marked: -1 });
  }

  // The least view that holds every feature, with a margin.
  all() {
    let [a, b, c, d] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < this.x.length; i++) {
      if (Number.isNaN(this.x[i]) || Number.isNaN(this.y[i])) continue;
      a = Math.min(a, this.x[i]); b = Math.max(b, this.x[i]);
      c = Math.min(c, this.y[i]); d = Math.max(d, this.y[i]);
    }
    if (a > b) return [-1, 1, 0, 2];
    const dx = 0.05 * (b - a) || 0.1, dy = 0.05 * (d - c) || 0.1;
    return [a - dx, b + dx, c - dy, d + dy];
  }

  // values: numbers to colour by, or null for types.
  paint(values, shown) {
    this.shown = shown;
    this.values = values;
    if (values) {
      const sorted = values.filter(known).sort((one, other) => one - other);
      this.range = sorted.length ? [sorted[Math.floor(0.02 * sorted.length)], sorted[Math.ceil(0.98 * (sorted.length - 1))]] : null;
    }
    this.draw();
  }

  frame() {
    const { width, height } = this.canvas.getBoundingClientRect();
    return { width, height, left: 46, right: width - 10, top: 8, bottom: height - 34 };
  }

  draw() {
    if (!this.x) return;
    const box = this.frame(), ratio = window.devicePixelRatio || 1, context = this.canvas.getContext("2d");
    if (!box.width) return;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    context.scale(ratio, ratio);
    const style = getComputedStyle(this.canvas), ink = style.color;
    const [x0, x1, y0, y1] = this.view ?? this.all();
    this.to = (x, y) => [box.left + (x - x0) / (x1 - x0) * (box.right - box.left), box.bottom - (y - y0) / (y1 - y0) * (box.bottom - box.top)];
    this.from = (px, py) => [x0 + (px - box.left) / (box.right - box.left) * (x1 - x0), y0 + (box.bottom - py) / (box.bottom - box.top) * (y1 - y0)];
    this.axes(context, box, ink, style.getPropertyValue("--grid"));
    context.save();
    context.beginPath();
    context.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    context.clip();
    this.points(context, ink);
    this.outline(context, ink);
    context.restore();
    this.canvas.setAttribute("aria-label", this.label);
  }

  axes(context, box, ink, grid) {
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = ink;
    context.strokeStyle = grid;
    context.lineWidth = 1;
    const ticks = (values, forward, axis) => {
      let last = -Infinity;
      for (const value of values) {
        const [px, py] = axis === "x" ? this.to(forward(value), 0) : this.to(0, forward(value));
        const at = axis === "x" ? px : -py;
        if (axis === "x" ? px < box.left || px > box.right : py < box.top || py > box.bottom) continue;
        context.beginPath();
        if (axis === "x") { context.moveTo(px, box.top); context.lineTo(px, box.bottom); }
        else { context.moveTo(box.left, py); context.lineTo(box.right, py); }
        context.stroke();
        if (at - last < (axis === "x" ? 30 : 15)) continue;
        last = at;
        const text = format.grouped(String(value)).replace("-", format.MINUS);
        context.textAlign = axis === "x" ? "center" : "right";
        context.fillText(text, axis === "x" ? px : box.left - 5, axis === "x" ? box.bottom + 14 : py + 4);
      }
    };
    ticks(TICKS_X, Math.asinh, "x");
    ticks(TICKS_Y, Math.log, "y");
    context.textAlign = "center";
    context.fillText("skewness", (box.left + box.right) / 2, box.bottom + 29);
    context.save();
    context.translate(11, (box.top + box.bottom) / 2);
    context.rotate(-Math.PI / 2);
    context.fillText("kurtosis", 0, 0);
    context.restore();
    // What null directions reach.
    context.setLineDash([4, 3]);
    context.strokeStyle = ink;
    context.globalAlpha = 0.6;
    const [left, top] = this.to(Math.asinh(this.bounds.skewness[0]), Math.log(this.bounds.kurtosis[1]));
    const [right, bottom] = this.to(Math.asinh(this.bounds.skewness[1]), Math.log(this.bounds.kurtosis[0]));
    context.save();
    context.beginPath();
    context.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    context.clip();
    context.strokeRect(left, top, right - left, bottom - top);
    context.restore();
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  points(context, ink) {
    const groups = new Map();
    const key = (i) => {
      const faint = this.shown && !this.shown[i] ? 1 : 0;
      if (!this.values) return `${faint} ${this.type[i]} ${this.type[i]}`;
      const value = this.values[i];
      if (!known(value) || !this.range) return `${faint} ${this.type[i]} none`;
      const share = (value - this.range[0]) / (this.range[1] - this.range[0] || 1);
      return `${faint} ${this.type[i]} v${Math.round(8 * Math.min(1, Math.max(0, share)))}`;
    };
    for (let i = 0; i < this.x.length; i++) {
      if (Number.isNaN(this.x[i]) || Number.isNaN(this.y[i])) continue;
      const name = key(i);
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(i);
    }
    // Faint ones first, then those without a type, then the others.
    const order = (name) => { const [faint, type] = name.split(" "); return (faint === "1" ? 0 : 100) - (this.types[type].name === "unclassified" ? 50 : 0) + Number(type) / 10; };
    for (const name of [...groups.keys()].sort((one, other) => order(one) - order(other))) {
      const [faint, type, color] = name.split(" "), plain = this.types[type].name === "unclassified";
      context.fillStyle = color === "none" ? "#8a8f98" : color[0] === "v" ? CIVIDIS[color.slice(1)] : this.types[type].name === "degenerate" ? ink : this.types[type].color;
      context.globalAlpha = faint === "1" ? 0.12 : plain && !this.values ? 0.6 : 0.85;
      context.beginPath();
      const radius = plain ? 2.2 : 3.4;
      for (const i of groups.get(name)) mark(context, this.types[type].marker, ...this.to(this.x[i], this.y[i]), radius);
      context.fill();
    }
    context.globalAlpha = 1;
    if (this.marked >= 0) {
      context.beginPath();
      mark(context, "o", ...this.to(this.x[this.marked], this.y[this.marked]), 8);
      context.strokeStyle = ink;
      context.lineWidth = 2;
      context.stroke();
    }
  }

  outline(context, ink) {
    const polygon = this.drag?.polygon ?? this.region;
    if (!polygon || polygon.length < 2) return;
    context.beginPath();
    polygon.forEach(([x, y], i) => context[i ? "lineTo" : "moveTo"](...this.to(x, y)));
    context.closePath();
    context.strokeStyle = ink;
    context.lineWidth = 1.5;
    context.setLineDash([6, 3]);
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = ink;
    context.globalAlpha = 0.06;
    context.fill();
    context.globalAlpha = 1;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  near([px, py], most = 9) {
    let best = -1, least = most * most;
    for (let i = 0; i < this.x.length; i++) {
      if (this.shown && !this.shown[i]) continue;
      const [x, y] = this.to(this.x[i], this.y[i]), distance = (x - px) ** 2 + (y - py) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  }

  down(event) {
    if (!this.x || event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.place(event);
    this.drag = { start: at, view: this.view ?? this.all(), polygon: this.mode === "pan" ? null : [this.from(...at)], moved: false };
  }

  move(event) {
    if (!this.x) return;
    const at = this.place(event), drag = this.drag;
    if (!drag) { this.point(this.near(at), at); return; }
    drag.moved ||= Math.hypot(at[0] - drag.start[0], at[1] - drag.start[1]) > 4;
    if (!drag.moved) return;
    if (this.mode === "pan") {
      const box = this.frame(), [x0, x1, y0, y1] = drag.view;
      const dx = (drag.start[0] - at[0]) / (box.right - box.left) * (x1 - x0), dy = (at[1] - drag.start[1]) / (box.bottom - box.top) * (y1 - y0);
      this.view = [x0 + dx, x1 + dx, y0 + dy, y1 + dy];
    } else if (this.mode === "box") {
      const [a, b] = this.from(...drag.start), [c, d] = this.from(...at);
      drag.polygon = [[a, b], [c, b], [c, d], [a, d]];
    } else drag.polygon.push(this.from(...at));
    this.draw();
  }

  up(event) {
    const drag = this.drag;
    this.drag = null;
    if (!drag) return;
    if (!drag.moved) {
      const feature = this.near(this.place(event));
      if (feature >= 0) this.opened(feature);
      else if (this.mode !== "pan") this.chosen(null);
    } else if (this.mode === "pan") this.moved(this.view);
    else this.chosen(thinned(drag.polygon));
  }

  point(feature, at) {
    this.canvas.style.cursor = feature >= 0 ? "pointer" : this.mode === "pan" ? "grab" : "crosshair";
    this.tip.hidden = feature < 0;
    if (feature >= 0) {
      this.tip.textContent = `feature ${feature} · ${this.types[this.type[feature]].label}`;
      const width = this.canvas.getBoundingClientRect().width;
      this.tip.style.left = `${Math.min(at[0] + 12, width - this.tip.offsetWidth - 4)}px`;
      this.tip.style.top = `${Math.max(0, at[1] - 30)}px`;
    }
    this.highlight(feature);
  }

  highlight(feature) {
    if (feature === this.marked) return;
    this.marked = feature;
    this.draw();
  }

  zoom(factor, at) {
    const box = this.frame(), [x0, x1, y0, y1] = this.view ?? this.all();
    const [cx, cy] = at ? this.from(...at) : [(x0 + x1) / 2, (y0 + y1) / 2];
    this.view = [cx + (x0 - cx) * factor, cx + (x1 - cx) * factor, cy + (y0 - cy) * factor, cy + (y1 - cy) * factor];
    this.draw();
    this.moved(this.view);
  }

  reset() {
    this.view = null;
    this.draw();
    this.moved(null);
  }

  key(event) {
    const [x0, x1, y0, y1] = this.view ?? this.all(), dx = (x1 - x0) / 8, dy = (y1 - y0) / 8;
    const shift = { ArrowLeft: [-dx, 0], ArrowRight: [dx, 0], ArrowUp: [0, dy], ArrowDown: [0, -dy] }[event.key];
    if (shift) {
      this.view = [x0 + shift[0], x1 + shift[0], y0 + shift[1], y1 + shift[1]];
      this.draw();
      this.moved(this.view);
    } else if (event.key === "+" || event.key === "=") this.zoom(0.8);
    else if (event.key === "-") this.zoom(1.25);
    else if (event.key === "0") this.reset();
    else if (event.key === "b") this.chosen([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]);
    else if (event.key === "Escape") this.chosen(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

// A polygon of at most 60 corners, so that it fits an address.
function thinned(polygon) {
  const step = Math.ceil(polygon.length / 60);
  return polygon.filter((_, i) => i % step === 0);
}
