// The page of one feature, in a study's browser and alone. What it is given is made by fsrl.pages.record.
"use strict";

const SHADES = [0.1, 0.85]; // opacity of the faintest and of the greatest activation; the style halves it where text is light

class Page {
  // study: what its features share; tokens: their texts, by id; beside(layer, feature): the row of another feature, null
  // where it is not known; address([layer, feature]): of its page, null where there is none.
  constructor(study, tokens, { beside = () => null, address = () => null } = {}) {
    Object.assign(this, { study, tokens, beside, address, facts: study.facts });
  }

  // row, page: of the feature; hidden: sections that are left out. Of a site: before, after: [layer, feature] or null;
  // back: the address of its table. What a study does not have has no section; what it has not of this feature is said.
  draw({ title, layer, feature, row, page, hidden = [] }, { before = null, after = null, back = null } = {}) {
    const { study } = this, own = study.layers[layer];
    const moments = Object.fromEntries([...this.facts.moments, ...this.facts.density].map(({ key }) => [key, row[key]]));
    const color = study.types[row.type ?? study.types.findIndex((type) => type.name === "unclassified")].color;
    const views = [[study.view, { ...page, moments, top: row.top, bottom: row.bottom, dead: row.dead, color }]];
    if (page.transported) views.push([study.transported, { ...page.transported, moments: page.transported, dead: row.dead, color }]);
    const ofViews = views.map(([name, shown], i) => this.view(i, views.length > 1 ? name : null, shown, layer));
    const sections = [
      this.section("explanations", true, this.explanations(row.explanations)),
      // Two views lie side by side.
      ...ofViews[0].flatMap((_, part) => ofViews.map((view) => view[part])),
      this.section("sets", true, this.sets(page.sets)),
      page.effects || own.has.includes("effect") ? this.section("effects", true, this.effects(page.effects)) : null,
      page.near ? this.section("near", false, this.near(page.near, layer)) : null,
      page.same && study.layers.length > 1 ? this.section("same", false, this.same(page.same)) : null,
      page.examples ? this.section("examples", true, this.examples(page.examples)) : null,
      page.notes?.length ? this.section("notes", true, element("ul", {}, page.notes.map((note) => element("li", {}, element("bdi", {}, note))))) : null,
    ];
    return [
      this.header(title, own, feature, row, back === null ? null : this.steps(own, feature, before, after, back)),
      element("main", {}, sections.filter((section) => section && !hidden.includes(section.dataset.part))),
    ];
  }

  section(part, wide, ...content) {
    return element("section", { class: wide ? "wide" : null, id: `page-${part}`, "data-part": part }, element("h2", {}, this.study.sections[part]), ...content);
  }

  steps(own, feature, before, after, back) {
    const step = (row, text, key) => row
      ? element("a", { href: this.address(row), rel: key, title: `${text} (${key === "prev" ? "left" : "right"} arrow)` }, text)
      : element("span", { class: "none" }, text);
    return element("p", { class: "bar" }, element("a", { href: back, id: "back" }, "‹ table"), step(before, "previous", "prev"), step(after, "next", "next"),
      own.neuronpedia ? element("a", { href: own.neuronpedia + feature, rel: "noopener noreferrer external" }, "Neuronpedia") : null);
  }

  header(title, own, feature, row, steps) {
    const { study } = this, said = (text) => element("b", {}, element("bdi", {}, text));
    // What an SAE is called says nothing where that is its hook; of a transcoder, the hook is where it writes.
    const sae = [own.reads ? "transcoder" : "SAE", own.sae === own.hook ? "" : own.sae];
    const hooks = own.reads ? [["reads", own.reads], ["writes", own.hook]] : [["hook", own.hook]];
    const places = [["study", study.study], sae, ...hooks, ["feature", String(feature)], ["view", study.view]];
    return element("header", {}, steps,
      element("h1", { tabindex: -1 }, element("bdi", {}, title)),
      element("p", { class: "place" },
        places.filter(([, text]) => text).map(([name, text]) => element("span", {}, `${name} `, said(text))),
        known(row.type) ? element("span", {}, "type ", chip(study.types[row.type]), study.scheme ? [" by scheme ", said(study.scheme)] : null)
          : element("span", {}, "type ", element("b", { class: "none" }, "not at hand"))));
  }

  explanations(said) {
    if (!said?.length) return element("p", { class: "none" }, "No explanation at hand.");
    return said.map(([text, by]) => element("blockquote", {}, element("bdi", {}, text), element("footer", {}, "by ", element("bdi", {}, by))));
  }

  // Histogram, moments and tokens of one view. name: where there are two, each says which it is; else null.
  view(number, name, shown, layer) {
    const made = (part, ...content) => {
      const section = this.section(part, false, ...content);
      if (name !== null) {
        section.id += `-${name}`;
        section.querySelector("h2").append(` – view ${name}`);
      }
      return section;
    };
    const weights = [...shown.top_weights, ...shown.bottom_weights], texts = format.column(weights);
    const largest = Math.max(0, ...weights.filter(known).map(Math.abs)) || 1;
    const side = (word, from) => {
      if (!shown[word].length) return element("p", { class: "none" }, `No ${word} tokens at hand.`);
      return element("ol", { class: `tokens ${word}` }, shown[word].map((id, i) => element("li", {},
        element("span", { class: "name" }, element("span", { class: "bar", style: `width: ${Math.round(1000 * Math.abs(weights[from + i] ?? 0) / largest) / 10}%` }),
          element("code", { title: this.tokens.whole[id] ?? null }, element("bdi", {}, format.token(this.tokens.shown[id])))),
        element("span", { class: "weight" }, texts[from + i]))));
    };
    return [
      made("histogram", histogram(shown, this.study, layer, number)),
      made("moments", this.moments(shown)),
      made("top", side("top", 0)),
      made("bottom", side("bottom", shown.top.length)),
    ];
  }

  moments(shown) {
    const ranked = shown.ranks, kinds = this.study.kinds;
    const cells = this.facts.moments.map((fact) => {
      const shares = (ranked?.[fact.key] ?? []).map((share, i) => [kinds[i], share]).filter(([, share]) => known(share));
      return element("div", {}, element("dt", { title: fact.says }, fact.label), element("dd", {}, format.number(shown.moments[fact.key])),
        element("dd", { class: "unit" }, fact.unit || this.study.unit),
        ...shares.map(([kind, share]) => element("dd", { class: "unit rank" }, `${format.rank(share)} of ${kind} directions`)));
    });
    const [value, unit] = format.density(shown.moments.log10_density, shown.dead);
    return element("dl", {}, cells, element("div", {}, element("dt", {}, this.facts.density[0].label), element("dd", {}, value), element("dd", { class: "unit" }, unit)));
  }

  table(head, rows) {
    return element("div", { class: "scroll" }, element("table", {},
      element("thead", {}, element("tr", {}, head.map(([label, says, numeric]) => element("th", { class: numeric ? "n" : null, title: says || null, scope: "col" }, label)))),
      element("tbody", {}, rows)));
  }

  sets(rows) {
    if (!rows?.length) return element("p", { class: "none" }, "No enrichment at hand.");
    const scored = rows.some((row) => row[7] !== null), { sets, scores } = this.facts;
    const facts = [...sets, ...(scored ? scores : [])];
    const head = [...facts.map((fact, i) => [fact.label, fact.says, i > 1]), ["", "", false]];
    const body = rows.map(([set, up, z, t, p, q, significant, auc, es]) => {
      const side = up ? "promoted" : "suppressed", cell = (text) => element("td", { class: "n" }, text);
      return element("tr", { class: significant ? null : "weak" }, element("td", {}, element("code", {}, element("bdi", {}, this.study.sets[set]))), element("td", { class: side }, side),
        cell(format.number(z)), cell(format.number(t)), cell(format.power(p)), cell(format.q(q)),
        ...(scored ? [cell(format.number(auc)), cell(format.number(es))] : []),
        element("td", {}, significant ? "significant" : "not significant"));
    });
    return [this.table(head, body), element("p", { class: "says" }, this.study.sets_note,
      scored ? ` ${scores.map((fact) => `${fact.label}: ${fact.says}`).join(". ")}.` : "")];
  }

  effects(rows) {
    if (!rows) return element("p", { class: "none" }, "Not among the features whose effects were measured.");
    const facts = this.facts.effects;
    const order = ["state", "step", "positions", "pearson", "spearman", "slope", "overlap", "kept", "measured_type", "matched"];
    const label = (name) => this.study.types.find((type) => type.name === name)?.label ?? name;
    const body = rows.map((row) => element("tr", {}, facts.map((fact) => {
      const value = row[order.indexOf(fact.key)];
      return element("td", { class: fact.form === "text" || fact.form === "type" ? null : "n" },
        fact.form === "text" ? value.replace("-", format.MINUS) : fact.form === "type" ? label(value) : fact.form === "count" ? format.count(value) : format.number(value));
    })));
    return [this.table(facts.map((fact) => [fact.label, fact.says, fact.form !== "text" && fact.form !== "type"]), body),
      element("p", { class: "says" }, "The feature was added to the residual stream on held-out text, and the change of the logits was measured; numbers are means over positions.")];
  }

  link([layer, feature]) {
    const text = `feature ${feature}`, address = this.address([layer, feature]);
    return address === null ? text : element("a", { href: address }, text);
  }

  near(pairs, layer) {
    const cells = (row) => row ? [element("td", {}, chip(this.study.types[row.type])),
      element("td", {}, row.top.slice(0, 4).flatMap((id) => [element("code", {}, element("bdi", {}, format.token(this.tokens.shown[id]))), " "]))] : [];
    const body = pairs.map(([feature, cosine]) => element("tr", {}, element("td", {}, this.link([layer, feature])), cells(this.beside(layer, feature)),
      element("td", { class: "n" }, format.number(cosine))));
    const more = pairs.some(([feature]) => this.beside(layer, feature)) ? [["type", ""], ["top tokens", ""]] : [];
    return this.table([["feature", ""], ...more, ["cosine", "of the two rows of the decoder", true]], body);
  }

  same(pairs) {
    const body = pairs.map((pair, layer) => pair === null
      ? element("tr", { class: "weak" }, element("td", {}, this.study.layers[layer].sae), element("td", {}, "this layer"), element("td", {}))
      : element("tr", {}, element("td", {}, this.study.layers[layer].sae), element("td", {}, this.link([layer, pair[0]])), element("td", { class: "n" }, format.number(pair[1]))));
    return this.table([["layer", ""], ["nearest feature", ""], ["cosine", "of the two rows of the decoders", true]], body);
  }

  // [activation, place of the peak, ids, hundredths of the peak] of each context.
  examples(lines) {
    const from = this.study.text, strongest = Math.max(0, ...lines.map(([activation]) => activation));
    if (from === null) return element("p", { class: "none" }, "No text at hand.");
    if (!lines.length) return element("p", { class: "none" }, "Never active on ", element("bdi", {}, from), ".");
    const [faintest, darkest] = SHADES;
    const shade = (share, activation) => share > 0 ? `--shade: ${(faintest + (darkest - faintest) * share / 100 * activation / strongest).toFixed(2)}` : null;
    const token = (id, share, activation, isPeak) => {
      const shown = format.token(this.tokens.shown[id]);
      return [typeof shown[0] === "string" ? null : element("wbr"), element("bdi", {
        class: isPeak ? "peak" : null, style: shade(share, activation),
        title: known(share) ? `${String(share).replace("-", format.MINUS)} % of ${format.number(activation)}` : format.ABSENT,
      }, shown)];
    };
    return [
      element("p", { class: "says" }, "From ", element("bdi", {}, from), ". Number and underline: the greatest activation of each context. Shade: activation, ",
        element("span", { class: "key", style: `--faintest: ${faintest}; --darkest: ${darkest}` }, `0 to ${format.number(strongest)}`), "."),
      element("ol", { class: "examples" }, lines.map(([activation, peak, ids, shares]) => element("li", {},
        element("span", { class: "activation" }, format.number(activation)),
        element("p", {}, ids.map((id, i) => token(id, shares[i], activation, i === peak)))))),
    ];
  }
}

// Logarithmic in tokens: the bins of mean ± 8 std, the Gaussian of these, and the null's shape. number: of the view on this page.
function histogram(shown, study, layer, number) {
  const hatch = `hatch-${number}`;
  const [bins, first, under, over, ...filled] = shown.histogram, [mean, std] = shown.spread;
  const counts = [...Array(first).fill(0), ...filled, ...Array(Math.max(0, bins - first - filled.length)).fill(0)];
  const total = counts.reduce((sum, one) => sum + one, 0) + under + over;
  if (!bins || !total || !known(mean) || !(std > 0)) return element("p", { class: "none" }, "No histogram at hand.");
  const W = 640, H = 264, LEFT = 58, RIGHT = 10, TOP = 20, BOTTOM = 46, BASE = 0.5, foot = H - BOTTOM;
  const low = mean - study.half_width * std, high = mean + study.half_width * std, width = (high - low) / bins;
  const ceiling = Math.log10(1.5 * Math.max(...counts, under, over) / BASE), margin = 0.045 * (W - LEFT - RIGHT);
  const x = (weight) => LEFT + margin + (W - LEFT - RIGHT - 2 * margin) * (weight - low) / (high - low);
  const y = (tokens) => foot - Math.log10(Math.max(tokens, BASE) / BASE) / ceiling * (H - TOP - BOTTOM);
  const f = (value) => value.toFixed(1), tokens = (n) => `${format.count(n)} token${n === 1 ? "" : "s"}`;
  const bar = (left, right, n, says, beyond) => element("rect", { x: f(left), y: f(y(n)), width: f(right - left), height: f(foot - y(n)), fill: beyond ? `url(#${hatch})` : null }, element("title", {}, `${says}: ${tokens(n)}`));
  const bars = counts.flatMap((n, i) => n ? [bar(x(low + i * width), x(low + (i + 1) * width), n, `${format.number(low + i * width)} to ${format.number(low + (i + 1) * width)}`)] : []);
  if (under) bars.push(bar(LEFT, LEFT + margin, under, `below ${format.number(low)}`, true));
  if (over) bars.push(bar(W - RIGHT - margin, W - RIGHT, over, `${format.number(high)} or more`, true));
  const line = (share, n = 160) => {
    const points = Array.from({ length: n + 1 }, (_, i) => low + i / n * (high - low)).map((weight) => [weight, total * share(weight)]).filter(([, count]) => count >= BASE);
    return points.length ? `M${points.map(([weight, count]) => `${f(x(weight))},${f(y(count))}`).join(" L")}` : null;
  };
  const bell = line((weight) => width / std * Math.exp(-(((weight - mean) / std) ** 2) / 2) / Math.sqrt(2 * Math.PI));
  const nulls = shown.ranks ? Object.entries(study.layers[layer].shapes) : []; // of the site's own view
  const steps = nulls.map(([kind, [below, shape, above]]) => {
    const all = below + above + shape.reduce((sum, one) => sum + one, 0);
    const corners = shape.flatMap((n, i) => [[low + i * width, n], [low + (i + 1) * width, n]]).map(([weight, n]) => [weight, total * n / all]).filter(([, n]) => n >= BASE);
    return [kind, corners.length ? `M${corners.map(([weight, n]) => `${f(x(weight))},${f(y(n))}`).join(" L")}` : null];
  });
  const decades = Array.from({ length: Math.floor(Math.log10(BASE) + ceiling) + 1 }, (_, i) => i).filter((i, _, all) => all.length <= 5 || i % 2 === 0);
  const raw = (high - low) / 7, power = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const ticks = Array.from({ length: 16 }, (_, i) => (Math.ceil(low / step) + i) * step).filter((value) => value <= high);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const tick = (value) => decimals > 5 || step >= 1e6 ? format.number(value)
    : format.grouped((value + 0).toFixed(decimals)).replace(/^-(0[.0]*)$/, "$1").replace("-", format.MINUS);
  const says = [`${format.count(total)} tokens, on a logarithmic scale.`, bell ? " Dashed: Gaussian with the same mean and standard deviation." : "",
    nulls.length ? ` Lines: random directions, ${nulls.map(([kind], i) => `${kind} ${i ? "(dotted)" : "(solid)"}`).join(", ")}.` : "",
    under || over ? ` Hatched: tokens beyond the bins (${format.count(under)} below, ${format.count(over)} above).` : ""].join("");
  return [
    element("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `Histogram of the logit weights of ${format.count(total)} tokens` },
      element("defs", {}, element("pattern", { id: hatch, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
        element("rect", { width: 5, height: 5, fill: shown.color }), element("path", { d: "M0 0V5", stroke: "#222", "stroke-width": 1.6 }))),
      element("g", { class: "grid" },
        decades.map((i) => [element("path", { d: `M${LEFT} ${f(y(10 ** i))}H${W - RIGHT}` }), element("text", { x: LEFT - 7, y: f(y(10 ** i) + 4), "text-anchor": "end" }, format.count(10 ** i))]),
        ticks.map((value) => element("g", { class: "tick" }, element("path", { d: `M${f(x(value))} ${foot}v5` }), element("text", { x: f(x(value)), y: foot + 18, "text-anchor": "middle" }, tick(value)))),
        element("text", { class: "unit", x: (LEFT + W - RIGHT) / 2, y: H - 8, "text-anchor": "middle" }, `logit weight (${study.unit})`),
        element("text", { class: "name", transform: `translate(13 ${(TOP + foot) / 2}) rotate(-90)`, "text-anchor": "middle" }, "tokens (log scale)")),
      element("g", { class: "bars", fill: shown.color, stroke: "#00000066", "stroke-width": 0.7 }, bars),
      low <= 0 && high >= 0 ? element("path", { class: "zero", d: `M${f(x(0))} ${TOP}V${foot}` }) : null,
      ...steps.map(([kind, d], i) => d ? element("path", { class: `null null-${i}`, d }, element("title", {}, `${kind} directions`)) : null),
      bell ? element("path", { class: "bell", d: bell }) : null,
      element("path", { class: "axis", d: `M${LEFT} ${foot}H${W - RIGHT}` })),
    element("p", { class: "says" }, says),
  ];
}
