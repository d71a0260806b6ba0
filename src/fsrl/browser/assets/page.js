// The page of one feature: the facts of the notebook's page, under the same names, and what lies beside the feature.
"use strict";

class Page {
  constructor(study, tokens, rows, address) {
    Object.assign(this, { study, tokens, rows, address });
    this.facts = study.facts;
  }

  // layer, feature: which; beside: [before, after], rows or null; back: where the table is.
  async draw(layer, feature, { before, after, back }) {
    const { study } = this, own = study.layers[layer], columns = this.rows.data[layer];
    const part = await fsrl.load(`${layer}/page${Math.floor(feature / study.pages)}`);
    const page = part[feature % study.pages];
    const moments = Object.fromEntries([...this.facts.moments.map((fact) => fact.key), "log10_density"].map((key) => [key, columns[key][feature]]));
    const direct = { ...page, moments, top: columns.top[feature], bottom: columns.bottom[feature], dead: columns.dead[feature], color: study.types[columns.type[feature]].color };
    const views = [[study.view, direct]];
    if (page.transported) {
      const { mean, std, skewness, kurtosis, norm, log10_density, ...rest } = page.transported;
      views.push([study.transported, { ...rest, moments: { mean, std, skewness, kurtosis, norm, log10_density }, dead: columns.dead[feature], color: direct.color }]);
    }
    const title = `Feature ${feature} of ${own.hook}`;
    document.title = `${title} – ${study.title}`;
    return [
      this.header(title, layer, feature, before, after, back),
      element("main", {},
        this.section("explanations", true, this.explanations(columns.explanations?.[feature])),
        ...views.flatMap(([name, shown]) => this.view(name, shown, views.length > 1, layer)),
        this.section("sets", true, this.sets(page.sets)),
        page.effects || own.has.includes("effect") ? this.section("effects", true, this.effects(page.effects)) : null,
        this.section("near", false, this.near(page.near, layer)),
        study.layers.length > 1 ? this.section("same", false, this.same(page.same)) : null,
        page.examples ? this.section("examples", true, this.examples(page.examples)) : null),
    ];
  }

  section(name, wide, ...content) {
    const heading = { effects: "Measured effects", near: "Nearest features of this layer", same: "The same direction at other layers" }[name] ?? this.study.sections[name];
    return element("section", { class: wide ? "wide" : null, id: `page-${name}` }, element("h2", {}, heading), ...content);
  }

  header(title, layer, feature, before, after, back) {
    const { study } = this, own = study.layers[layer];
    const step = (row, text, key) => row
      ? element("a", { href: this.address(row), rel: key, title: `${text} (${key === "prev" ? "left" : "right"} arrow)` }, text)
      : element("span", { class: "none" }, text);
    const type = study.types[this.rows.data[layer].type[feature]];
    return element("header", {},
      element("p", { class: "bar" }, element("a", { href: back, id: "back" }, "‹ table"), step(before, "previous", "prev"), step(after, "next", "next"),
        own.neuronpedia ? element("a", { href: own.neuronpedia + feature, rel: "noopener noreferrer external" }, "Neuronpedia") : null),
      element("h1", { tabindex: -1 }, title),
      element("p", { class: "place" },
        ...[["study", study.study], ["hook", own.hook], ["feature", String(feature)], ["view", study.view]].map(([name, said]) => element("span", {}, `${name} `, element("b", {}, said))),
        element("span", {}, "type ", chip(type), " by scheme ", element("b", {}, study.scheme))));
  }

  explanations(said) {
    if (!said?.length) return element("p", { class: "none" }, "No explanation at hand.");
    return said.map(([text, by]) => element("blockquote", {}, element("bdi", {}, text), element("footer", {}, "by ", element("bdi", {}, by))));
  }

  // Histogram, moments and tokens of one view; where there are two, each says which it is.
  view(name, shown, several, layer) {
    const suffix = several ? ` – view ${name}` : "", id = (part) => several ? `${part}-${name}` : part;
    const made = (part, ...content) => {
      const section = this.section(part, false, ...content);
      section.id = `page-${id(part)}`;
      section.querySelector("h2").append(suffix);
      return section;
    };
    const weights = format.column([...shown.top_weights, ...shown.bottom_weights]);
    const largest = Math.max(0, ...[...shown.top_weights, ...shown.bottom_weights].filter(format.known).map(Math.abs)) || 1;
    const side = (word) => {
      const ids = shown[word], values = shown[`${word}_weights`], texts = word === "top" ? weights.slice(0, ids.length) : weights.slice(shown.top.length);
      return element("ol", { class: `tokens ${word}` }, ids.map((id, i) => element("li", {},
        element("span", { class: "name" }, element("span", { class: "bar", style: `width: ${Math.round(1000 * Math.abs(values[i] ?? 0) / largest) / 10}%` }),
          element("code", { title: this.tokens.whole[id] ?? null }, element("bdi", {}, format.token(this.tokens.shown[id])))),
        element("span", { class: "weight" }, texts[i]))));
    };
    return [
      made("histogram", histogram(shown, this.study, layer, this.study.unit)),
      made("moments", this.moments(shown)),
      made("top", side("top")),
      made("bottom", side("bottom")),
    ];
  }

  moments(shown) {
    const ranked = shown.ranks, kinds = this.study.kinds;
    const cells = this.facts.moments.map((fact) => {
      const shares = (ranked?.[fact.key] ?? []).map((share, i) => [kinds[i], share]).filter(([, share]) => format.known(share));
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
    if (!rows) return element("p", { class: "none" }, "No enrichment at hand.");
    const scored = rows.some((row) => row[7] !== null), { sets, scores } = this.facts;
    const facts = [...sets, ...(scored ? scores : [])];
    const head = [...facts.map((fact, i) => [fact.label, fact.says, i > 1]), ["", "", false]];
    const body = rows.map(([set, up, z, t, p, q, significant, auc, es]) => {
      const side = up ? "promoted" : "suppressed", cell = (text) => element("td", { class: "n" }, text);
      return element("tr", { class: significant ? null : "weak" }, element("td", {}, element("code", {}, this.study.sets[set])), element("td", { class: side }, side),
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

  near(pairs, layer) {
    const body = pairs.map(([feature, cosine]) => element("tr", {}, element("td", {}, element("a", { href: this.address([layer, feature]) }, `feature ${feature}`)),
      element("td", {}, chip(this.study.types[this.rows.data[layer].type[feature]])),
      element("td", {}, this.rows.tokensOf(layer, feature, "top", 4).flatMap((text) => [element("code", {}, element("bdi", {}, format.token(text))), " "])),
      element("td", { class: "n" }, format.number(cosine))));
    return this.table([["feature", ""], ["type", ""], ["top tokens", ""], ["cosine", "of the two rows of the decoder", true]], body);
  }

  same(pairs) {
    const body = pairs.map((pair, layer) => pair === null
      ? element("tr", { class: "weak" }, element("td", {}, this.study.layers[layer].sae), element("td", {}, "this layer"), element("td", {}))
      : element("tr", {}, element("td", {}, this.study.layers[layer].sae), element("td", {}, element("a", { href: this.address([layer, pair[0]]) }, `feature ${pair[0]}`)), element("td", { class: "n" }, format.number(pair[1]))));
    return this.table([["layer", ""], ["nearest feature", ""], ["cosine", "of the two rows of the decoders", true]], body);
  }

  // [activation, place of the peak, ids, hundredths of the peak] of each context.
  examples(lines) {
    const from = this.study.text, strongest = Math.max(0, ...lines.map(([activation]) => activation));
    if (!lines.length) return element("p", { class: "none" }, `Never active on ${from}.`);
    const note = `From ${from}. Number and underline: the greatest activation of each context. Shade: activation, 0 to ${format.number(strongest)}.`;
    return [element("p", { class: "says" }, note), element("ol", { class: "examples" }, lines.map(([activation, peak, ids, shares]) => element("li", {},
      element("span", { class: "activation" }, format.number(activation)),
      element("p", {}, ids.map((id, i) => element("bdi", { class: i === peak ? "peak" : null, style: shares[i] ? `background: rgb(230 159 0 / ${(0.1 + 0.75 * shares[i] / 100 * activation / strongest).toFixed(2)})` : null, title: `${shares[i]} % of ${format.number(activation)}` },
        format.token(this.tokens.shown[id]))))))) ];
  }
}

// The drawing of fsrl.pages.histogram: logarithmic in tokens, the bins of mean ± 8 std, a Gaussian and the null's shape.
function histogram(shown, study, layer, unit) {
  const [bins, first, under, over, ...filled] = shown.histogram, [mean, std] = shown.spread;
  const counts = [...Array(first).fill(0), ...filled, ...Array(Math.max(0, bins - first - filled.length)).fill(0)];
  const total = counts.reduce((sum, one) => sum + one, 0) + under + over;
  if (!bins || !total || mean === null || !(std > 0)) return element("p", { class: "none" }, "No histogram at hand.");
  const W = 640, H = 264, LEFT = 58, RIGHT = 10, TOP = 20, BOTTOM = 46, BASE = 0.5, foot = H - BOTTOM;
  const low = mean - study.half_width * std, high = mean + study.half_width * std, width = (high - low) / bins;
  const ceiling = Math.log10(1.5 * Math.max(...counts, under, over) / BASE), margin = 0.045 * (W - LEFT - RIGHT);
  const x = (weight) => LEFT + margin + (W - LEFT - RIGHT - 2 * margin) * (weight - low) / (high - low);
  const y = (tokens) => foot - Math.log10(Math.max(tokens, BASE) / BASE) / ceiling * (H - TOP - BOTTOM);
  const f = (value) => value.toFixed(1), tokens = (n) => `${format.count(n)} token${n === 1 ? "" : "s"}`;
  const bar = (left, right, n, says, beyond) => element("rect", { x: f(left), y: f(y(n)), width: f(right - left), height: f(foot - y(n)), fill: beyond ? "url(#hatch)" : null }, element("title", {}, `${says}: ${tokens(n)}`));
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
  const says = [`${format.count(total)} tokens.`, bell ? " Dashed: Gaussian with the same mean and standard deviation." : "",
    nulls.length ? ` Lines: random directions, ${nulls.map(([kind], i) => `${kind} ${i ? "(dotted)" : "(solid)"}`).join(", ")}.` : "",
    under || over ? ` Hatched: tokens beyond the bins (${format.count(under)} below, ${format.count(over)} above).` : ""].join("");
  return [
    element("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `Histogram of the logit weights of ${format.count(total)} tokens` },
      element("defs", {}, element("pattern", { id: "hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
        element("rect", { width: 5, height: 5, fill: shown.color }), element("path", { d: "M0 0V5", stroke: "#222", "stroke-width": 1.6 }))),
      element("g", { class: "grid" },
        decades.map((i) => [element("path", { d: `M${LEFT} ${f(y(10 ** i))}H${W - RIGHT}` }), element("text", { x: LEFT - 7, y: f(y(10 ** i) + 4), "text-anchor": "end" }, format.count(10 ** i))]),
        ticks.map((value) => [element("path", { d: `M${f(x(value))} ${foot}v5` }), element("text", { x: f(x(value)), y: foot + 18, "text-anchor": "middle" }, format.grouped((value + 0).toFixed(decimals)).replace(/^-(0[.0]*)$/, "$1").replace("-", format.MINUS))]),
        element("text", { x: (LEFT + W - RIGHT) / 2, y: H - 8, "text-anchor": "middle" }, `logit weight (${unit})`),
        element("text", { transform: `translate(13 ${(TOP + foot) / 2}) rotate(-90)`, "text-anchor": "middle" }, "tokens (log scale)")),
      element("g", { class: "bars", fill: shown.color, stroke: "#00000066", "stroke-width": 0.7 }, bars),
      low <= 0 && high >= 0 ? element("path", { class: "zero", d: `M${f(x(0))} ${TOP}V${foot}` }) : null,
      ...steps.map(([kind, d], i) => d ? element("path", { class: `null null-${i}`, d }, element("title", {}, `${kind} directions`)) : null),
      bell ? element("path", { class: "bell", d: bell }) : null,
      element("path", { class: "axis", d: `M${LEFT} ${foot}H${W - RIGHT}` })),
    element("p", { class: "says" }, says),
  ];
}
