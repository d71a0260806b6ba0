// The page's state is its address (after the #), so that a view can be sent to somebody; everything is drawn from it.
"use strict";

const DEFAULTS = {
  layer: "", feature: "", scope: "layer", types: "", token: "", side: "either", set: "", text: "",
  sort: "", order: "", page: "0", color: "type", region: "", view: "",
};
const $ = (id) => document.getElementById(id);
let typing = false; // a person is, in a field: what it holds is not to be touched
let study, rows, plane, page, tokens, found = [], state = { ...DEFAULTS }, drawn = 0;

// ---- the address
function parsed() {
  const asked = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(Object.entries(DEFAULTS).map(([key, value]) => [key, asked.get(key) ?? value]));
}

function addressOf(wanted) {
  const kept = Object.entries(wanted).filter(([key, value]) => value !== DEFAULTS[key]);
  return `#${new URLSearchParams(kept)}`;
}

// A step that the browser's own back button undoes.
function go(changes) {
  const address = addressOf({ ...state, ...changes });
  if (address === location.hash || (address === "#" && !location.hash)) draw();
  else location.hash = address;
}

// A change on the way, that it does not.
function change(changes) {
  state = { ...state, ...changes };
  try { history.replaceState(null, "", addressOf(state)); } catch { location.replace(addressOf(state)); }
  return draw();
}

const numbersOf = (text) => text.split(",").map(Number);
const layerOf = (sae) => Math.max(0, study.layers.findIndex((layer) => layer.sae === sae));
// An address of another build may name a layer that is not here: said, not passed over.
function unknownLayer() {
  const known = !state.layer || study.layers.some((layer) => layer.sae === state.layer);
  return known ? "" : `This study has no layer ${state.layer}: ${study.layers[0].sae} is shown.`;
}
const addressOfFeature = ([layer, feature]) => addressOf({ ...state, layer: study.layers[layer].sae, feature: String(feature) });

// ---- what is asked for
function asked() {
  const types = state.types ? new Set(state.types.split(",").map((name) => study.types.findIndex((type) => type.name === name))) : null;
  const set = state.set ? study.sets.indexOf(state.set) : null;
  return { types, ids: rows.tokenIds(state.token), side: state.side, set, text: state.text.toLowerCase() };
}

function isFiltered() {
  return Boolean(state.types || state.token || state.set || state.text || state.region);
}

function region() {
  return state.region ? state.region.split(";").map(numbersOf) : null;
}

async function needed(layers) {
  await Promise.all(layers.map(async (layer) => { rows.data[layer] ??= await fsrl.load(`${layer}/features`); }));
}

// ---- drawing
async function draw() {
  const turn = ++drawn;
  state = parsed();
  const layer = layerOf(state.layer), layers = state.scope === "all" ? study.layers.map((_, i) => i) : [layer];
  try {
    await needed([...new Set([layer, ...layers])]);
    if (turn !== drawn) return;
    find(layer, layers);
    if (state.feature !== "") await drawPage(layer, Number(state.feature), turn);
    else drawList(layer, layers);
    $("status").textContent = unknownLayer();
  } catch (error) {
    $("status").textContent = `Not shown: ${error.message}.`;
    throw error;
  }
  document.documentElement.dataset.ready = String(turn);
}

let chosen = null;
function find(layer, layers) {
  const polygon = region(), wanted = asked();
  chosen = null;
  if (polygon) {
    const [x, y] = scaled(rows.data[layer].skewness, rows.data[layer].kurtosis);
    chosen = Uint8Array.from(x, (value, i) => inside(polygon, value, y[i]) ? 1 : 0);
  }
  const where = polygon ? [layer] : layers;
  found = rows.find(wanted, where, chosen);
  const key = state.sort || (wanted.ids ? "rank" : "evidence");
  found = rows.sorted(found, key, state.order ? state.order === "down" : !["rank", "feature", "layer", "type"].includes(key), wanted);
}

function drawList(layer, layers) {
  document.title = `${study.layers[layer].sae} – ${study.title}`;
  $("list").hidden = $("place").hidden = false;
  $("feature").hidden = true;
  for (const button of document.querySelectorAll("#layers button")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.layer) === layer));
  }
  drawFilters(layer);
  drawPlane(layer);
  drawTable(layers);
}

function drawFilters(layer) {
  for (const name of ["token", "side", "set", "text", "scope"]) if (!typing || $(name) !== document.activeElement) $(name).value = state[name];
  const kept = state.types ? state.types.split(",") : [];
  for (const box of document.querySelectorAll("#types input")) box.checked = kept.includes(box.value);
  for (const line of document.querySelectorAll("#types .n")) line.textContent = format.count(study.layers[layer].types[Number(line.dataset.type)]);
  const wanted = asked();
  $("token").setAttribute("aria-invalid", String(Boolean(state.token) && !wanted.ids.size));
  $("set").setAttribute("aria-invalid", String(wanted.set === -1));
  $("clear").disabled = !isFiltered() && state.scope === "layer";
}

let planeLayer = -1;
function drawPlane(layer) {
  const columns = rows.data[layer], own = study.layers[layer];
  if (planeLayer !== layer) plane.show(columns, own.bounds, "");
  planeLayer = layer;
  plane.region = region();
  plane.view = state.view ? numbersOf(state.view) : null;
  const kept = new Uint8Array(columns.type.length);
  const here = found.filter(([one]) => one === layer);
  for (const [, feature] of here) kept[feature] = 1;
  plane.label = `Skewness against kurtosis of the ${format.count(own.features)} features of ${own.sae}; ${format.count(here.length)} are among the rows of the table below`;
  const fact = state.color === "type" ? null : study.facts.table.find((one) => one.key === state.color);
  plane.paint(fact && columns[fact.key] ? columns[fact.key] : null, isFiltered() ? kept : null);
  drawScale(fact && columns[fact.key] ? fact : null);
}

function drawScale(fact) {
  const note = "Dashed: what 99.8 % of random directions stay within, in each of the two.";
  if (!fact || !plane.range) { $("scale").replaceChildren(note); return; }
  const shown = fact.key === "log10_density" ? (value) => format.percent(10 ** value) : (value) => format.number(value);
  $("scale").replaceChildren(`${fact.label}: ${shown(plane.range[0])} `,
    element("span", { class: "ramp", style: `background: linear-gradient(90deg, ${CIVIDIS.join(", ")})`, role: "img", "aria-label": "from dark blue to yellow" }),
    ` ${shown(plane.range[1])}; grey: not known. ${note}`);
}

function drawTable(layers) {
  const wanted = asked(), facts = rows.columns(region() ? [layers[0]] : layers, wanted);
  const key = state.sort || (wanted.ids ? "rank" : "evidence");
  const down = state.order ? state.order === "down" : !["rank", "feature", "layer", "type"].includes(key);
  const pages = Math.max(1, Math.ceil(found.length / PER_PAGE)), at = Math.min(Number(state.page) || 0, pages - 1);
  const heads = facts.map((fact) => {
    const order = fact.key === key ? (down ? "descending" : "ascending") : "none";
    const sort = () => change({ sort: fact.key, order: fact.key === key ? (down ? "up" : "down") : ["feature", "type", "layer", "rank", "explanation", "top", "promoted", "suppressed", "promoted_log10_q", "suppressed_log10_q"].includes(fact.key) ? "up" : "down", page: "0" });
    return element("th", { scope: "col", "aria-sort": order, class: numeric(fact) ? "n" : null, title: fact.says || null },
      element("button", { type: "button", "data-key": fact.key, click: sort }, fact.label, element("span", { "aria-hidden": "true" }, order === "none" ? "" : down ? " ▾" : " ▴")));
  });
  const held = document.activeElement?.dataset?.key;
  $("table").tHead.replaceChildren(element("tr", {}, heads));
  if (held) $("table").querySelector(`button[data-key="${CSS.escape(held)}"]`)?.focus();
  const body = found.slice(at * PER_PAGE, (at + 1) * PER_PAGE).map(([layer, feature]) => element("tr", {
    mouseenter: () => { if (layer === planeLayer) plane.highlight(feature); },
    mouseleave: () => plane.highlight(-1),
    focusin: () => { if (layer === planeLayer) plane.highlight(feature); },
    focusout: () => plane.highlight(-1),
  }, facts.map((fact, i) => element("td", { class: numeric(fact) ? "n" : fact.key === "explanation" ? "said" : null },
    i === 0 ? element("a", { href: addressOfFeature([layer, feature]) }, String(feature)) : fact.key === "explanation" ? element("bdi", { title: rows.said(layer, feature) }, rows.said(layer, feature) ?? format.ABSENT) : rows.cell(fact, layer, feature, wanted).map((one) => typeof one === "string" ? element("bdi", {}, one) : one)))));
  $("table").tBodies[0].replaceChildren(...body);
  const total = layers.reduce((sum, layer) => sum + study.layers[layer].features, 0);
  const unknown = state.token && !wanted.ids.size ? "; the vocabulary has no such token" : wanted.set === -1 ? "; no such set" : "";
  $("count").textContent = `${format.count(found.length)} of ${format.count(total)} features${region() ? ", within the selection" : ""}${unknown}`;
  $("where").textContent = `${format.count(found.length ? at * PER_PAGE + 1 : 0)}–${format.count(Math.min(found.length, (at + 1) * PER_PAGE))}`;
  $("before").disabled = at === 0;
  $("after").disabled = at >= pages - 1;
  $("before").onclick = () => change({ page: String(at - 1) });
  $("after").onclick = () => change({ page: String(at + 1) });
  $("export").onclick = () => save(rows.csv(found, facts, wanted), `${study.study}_features.csv`);
}

const numeric = (fact) => ["number", "q", "density", "count", "rank"].includes(fact.form);

function save(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = element("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

async function drawPage(layer, feature, turn) {
  const own = study.layers[layer];
  if (!Number.isInteger(feature) || feature < 0 || feature >= own.features) throw new Error(`${own.sae} has no feature ${state.feature}`);
  const at = found.findIndex(([l, f]) => l === layer && f === feature);
  // Of the rows shown, where this is one; else by number.
  const [before, after] = at >= 0 ? [found[at - 1], found[at + 1]] : [feature - 1, feature + 1].map((one) => one >= 0 && one < own.features ? [layer, one] : null);
  const pages = await fsrl.load(`${layer}/page${Math.floor(feature / study.pages)}`);
  if (turn !== drawn) return;
  const title = `Feature ${feature} of ${own.hook}`;
  document.title = `${title} – ${study.title}`;
  const given = { title, layer, feature, row: rows.row(layer, feature), page: pages[feature % study.pages] };
  $("feature").replaceChildren(...page.draw(given, { before, after, back: addressOf({ ...state, feature: "" }) }));
  $("list").hidden = $("place").hidden = true;
  $("feature").hidden = false;
  window.scrollTo(0, 0);
  $("feature").querySelector("h1").focus({ preventScroll: true });
}

// ---- what a person does
function listen() {
  const typed = (name) => {
    let timer;
    $(name).addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => { typing = true; change({ [name]: $(name).value, page: "0", ...(name === "token" ? { sort: "", order: "" } : {}) }); }, 150); });
  };
  ["token", "set", "text"].forEach(typed);
  for (const name of ["side", "scope", "color"]) $(name).addEventListener("change", () => change({ [name]: $(name).value, ...(name === "color" ? {} : { page: "0" }), ...(name === "scope" ? { region: "" } : {}) }));
  $("types").addEventListener("change", () => change({ types: [...document.querySelectorAll("#types input:checked")].map((box) => box.value).join(","), page: "0" }));
  $("clear").addEventListener("click", () => { for (const name of ["token", "set", "text"]) $(name).value = ""; change({ types: "", token: "", set: "", text: "", region: "", scope: "layer", page: "0", sort: "", order: "" }); });
  document.querySelector("#filters form").addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll("[data-mode]")) {
    button.addEventListener("click", () => {
      plane.mode = button.dataset.mode;
      $("canvas").dataset.mode = plane.mode;
      for (const one of document.querySelectorAll("[data-mode]")) one.setAttribute("aria-pressed", String(one === button));
    });
  }
  $("zoom-in").addEventListener("click", () => plane.zoom(0.8));
  $("zoom-out").addEventListener("click", () => plane.zoom(1.25));
  $("zoom-all").addEventListener("click", () => plane.reset());
  $("theme").addEventListener("click", () => {
    const root = document.documentElement, dark = getComputedStyle(root).getPropertyValue("--dark").trim() === "1";
    root.dataset.theme = dark ? "light" : "dark";
    plane.draw();
    overview();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { plane.draw(); overview(); });
  $("help").addEventListener("click", () => { $("keys").hidden = !$("keys").hidden; $("help").setAttribute("aria-expanded", String(!$("keys").hidden)); });
  document.addEventListener("keydown", key);
  window.addEventListener("hashchange", () => { typing = false; draw(); });
}

function key(event) {
  const writing = event.target.closest?.("input, select, textarea, canvas");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (state.feature !== "") {
    const link = { ArrowLeft: "a[rel=prev]", ArrowRight: "a[rel=next]", Escape: "#back" }[event.key];
    const target = link && $("feature").querySelector(link);
    if (target && !event.target.closest?.(".scroll")) { event.preventDefault(); location.hash = target.getAttribute("href"); }
    return;
  }
  if (event.key === "Escape" && event.target.matches?.("input")) { event.target.blur(); return; }
  if (writing) return;
  const layer = layerOf(state.layer);
  if (event.key === "/") { event.preventDefault(); $("token").focus(); }
  else if (event.key === "[" && layer > 0) toLayer(layer - 1);
  else if (event.key === "]" && layer < study.layers.length - 1) toLayer(layer + 1);
  else if (event.key === "Escape" && state.region) change({ region: "", page: "0" });
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const links = [...document.querySelectorAll("#table tbody a")], at = links.indexOf(document.activeElement);
    if (at < 0) return;
    event.preventDefault();
    links[at + (event.key === "ArrowDown" ? 1 : -1)]?.focus();
  }
}

const toLayer = (layer) => go({ layer: study.layers[layer].sae, region: "", view: "", page: "0" });

// ---- what does not change
function overview() {
  const every = study.layers.map((layer) => scaled(layer.sample.map((one) => one[0]), layer.sample.map((one) => one[1])));
  const range = (k) => { const all = every.flatMap((one) => [...one[k]]); return [Math.min(...all), Math.max(...all)]; };
  const [[x0, x1], [y0, y1]] = [range(0), range(1)];
  for (const [i, button] of [...document.querySelectorAll("#layers button")].entries()) {
    const canvas = button.querySelector("canvas"), ratio = window.devicePixelRatio || 1, [w, h] = [96, 64];
    canvas.width = w * ratio;
    canvas.height = h * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    study.layers[i].sample.forEach(([, , type], k) => {
      context.beginPath();
      context.fillStyle = study.types[type].name === "degenerate" ? getComputedStyle(canvas).color : study.types[type].color;
      mark(context, study.types[type].marker, 4 + (every[i][0][k] - x0) / (x1 - x0 || 1) * (w - 8), h - 4 - (every[i][1][k] - y0) / (y1 - y0 || 1) * (h - 8), type < 5 ? 1.7 : 1.2);
      context.fill();
    });
  }
}

function build() {
  $("title").textContent = study.title;
  $("place").replaceChildren(...[["study", study.study], ["view", study.view], ["scheme", study.scheme], ["model", study.made.model ?? "-"], [study.layers.some((layer) => layer.reads) ? "transcoders" : "SAEs", study.made.release ?? "-"]]
    .map(([name, said]) => element("span", { title: name === "model" ? Object.entries(study.made).map(([k, v]) => `${k}: ${v}`).join("\n") : null }, `${name} `, element("b", {}, element("bdi", {}, said)))));
  $("layers").replaceChildren(...study.layers.map((layer, i) => {
    const typed = layer.types.slice(0, 5).reduce((sum, one) => sum + one, 0);
    return element("button", { type: "button", "data-layer": i, "aria-pressed": "false", title: `${layer.sae}: ${format.count(typed)} of ${format.count(layer.features)} features with a type; a sample is drawn, all layers on the same axes`, click: () => toLayer(i) },
      element("canvas", { role: "img", "aria-label": "Skewness against kurtosis of a sample of features" }), element("span", {}, layer.sae), element("small", {}, `${format.count(typed)} typed`));
  }));
  const here = study.types.map((type, i) => [type, i]).filter(([, i]) => study.layers.some((layer) => layer.types[i]));
  $("types").append(...here.map(([type, i]) => element("label", {}, element("input", { type: "checkbox", value: type.name }), swatch(type), type.label, " ", element("span", { class: "n", "data-type": i }))));
  $("sets").replaceChildren(...study.sets.map((name) => element("option", { value: name })));
  const has = new Set(study.layers.flatMap((layer) => layer.has));
  const colors = ["evidence", "std", "log10_density", "effect"].filter((name) => has.has(name));
  $("color").replaceChildren(element("option", { value: "type" }, "type"),
    ...colors.map((name) => element("option", { value: name }, { log10_density: "density", effect: "measured effect" }[name] ?? name)));
  for (const [id, there] of [["set", has.has("promoted")], ["text", has.has("explanations")]]) $(id).closest("p").hidden = !there;
}

// A type's shape in its colour, as the plane draws it.
function swatch(type) {
  const shape = { s: "M3 3h10v10h-10z", D: "M8 1l7 7l-7 7l-7 -7z", "^": "M8 2l6 11h-12z", v: "M8 14l6 -11h-12z", o: "M8 3a5 5 0 1 0 .01 0z", x: "M2 7h12v2h-12z" }[type.marker];
  return element("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true", class: "swatch" }, element("path", { d: shape, fill: type.name === "degenerate" ? "currentColor" : type.color }));
}

async function start() {
  [study, tokens] = await Promise.all([fsrl.load("study"), fsrl.load("tokens"), fsrl.load(firstLayer())]);
  rows = new Rows(study, tokens);
  page = new Page(study, tokens, { beside: (layer, feature) => rows.row(layer, feature), address: addressOfFeature });
  plane = new Plane($("canvas"), $("tip"), study.types, {
    chosen: (polygon) => change({ region: polygon ? polygon.map((corner) => corner.map((one) => one.toFixed(3)).join(",")).join(";") : "", page: "0", ...(polygon ? { scope: "layer" } : {}) }),
    opened: (feature) => go({ feature: String(feature) }),
    moved: (view) => change({ view: view ? view.map((one) => one.toFixed(3)).join(",") : "" }),
  });
  build();
  listen();
  await draw();
  $("color").value = state.color;
  overview();
}

// The first layer's chunk is asked for beside the study's, which says the layers' names; not where another is wanted.
const firstLayer = () => new URLSearchParams(location.hash.slice(1)).has("layer") ? "study" : "0/features";

start().catch((error) => { $("status").textContent = `Not shown: ${error.message}.`; throw error; });
