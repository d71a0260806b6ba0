// The table of features: which rows the filters keep, their order, a page of them, and all of them as CSV.
"use strict";

const PER_PAGE = 50;

// A row is a layer and a feature; `data` has the columns of each layer that is loaded.
class Rows {
  constructor(study, tokens) {
    Object.assign(this, { study, tokens, data: [] });
  }

  // The ids of the tokens that a person means: as typed; without a space before it, with one as well. A token that is
  // cut where it is shown is known by its whole text and by the cut one.
  tokenIds(typed) {
    if (!typed) return null;
    const wanted = typed.replaceAll(" ", "\u2423");
    const both = new Set([wanted, ...(wanted.startsWith("\u2423") ? [] : [`\u2423${wanted}`])]);
    return new Set(this.tokens.shown.flatMap((text, id) => both.has(text) || both.has(this.tokens.whole[id]) ? [id] : []));
  }

  // All columns of one feature.
  row(layer, feature) {
    return Object.fromEntries(Object.entries(this.data[layer]).map(([key, values]) => [key, values[feature]]));
  }

  // The first explanation of a feature.
  said(layer, feature) {
    return this.data[layer].explanations?.[feature][0]?.[0] ?? null;
  }

  tokensOf(layer, feature, side = "top", most = 10) {
    return this.data[layer][side][feature].slice(0, most).map((id) => this.tokens.shown[id]);
  }

  // What a cell sorts by and what CSV holds.
  value(key, layer, feature) {
    const columns = this.data[layer];
    if (key === "layer") return layer;
    if (key === "feature") return feature;
    if (key === "explanation") return this.said(layer, feature);
    if (key === "top") return this.tokensOf(layer, feature).join(" ");
    const found = columns[key]?.[feature] ?? null;
    if (found === null) return null;
    if (key === "promoted" || key === "suppressed") return this.study.sets[found];
    return found;
  }

  // A token's place among a feature's most promoted (1, 2, ...) or suppressed tokens (-1, -2, ...); null: in neither.
  rank(ids, side, layer, feature) {
    for (const [name, sign] of [["top", 1], ["bottom", -1]]) {
      if (side !== "either" && side !== name) continue;
      const at = this.data[layer][name][feature].findIndex((id) => ids.has(id));
      if (at >= 0) return sign * (at + 1);
    }
    return null;
  }

  // Does a feature pass the filters? asked: { types, ids, side, set, text } as the state has them.
  keeps(asked, layer, feature) {
    const columns = this.data[layer];
    if (asked.types && !asked.types.has(columns.type[feature])) return false;
    if (asked.ids && this.rank(asked.ids, asked.side, layer, feature) === null) return false;
    if (asked.set !== null && columns.promoted?.[feature] !== asked.set && columns.suppressed?.[feature] !== asked.set) return false;
    if (asked.text && !columns.explanations?.[feature].some(([said]) => said.toLowerCase().includes(asked.text))) return false;
    return true;
  }

  // The rows [layer, feature] that the filters keep, in order.
  find(asked, layers, chosen) {
    const found = [];
    for (const layer of layers) {
      const n = this.data[layer].type.length;
      for (let feature = 0; feature < n; feature++) {
        if (chosen && !chosen[feature]) continue;
        if (this.keeps(asked, layer, feature)) found.push([layer, feature]);
      }
    }
    return found;
  }

  // Nulls come last whichever way; equal values stay in the order of layers and features.
  sorted(rows, key, descending, asked) {
    const label = (type) => this.study.types[type].label;
    const of = key === "rank"
      ? ([layer, feature]) => Math.abs(this.rank(asked.ids ?? new Set(), asked.side, layer, feature) ?? Infinity)
      : ([layer, feature]) => { const value = this.value(key, layer, feature); return key === "type" ? label(value) : value; };
    const keyed = rows.map((row) => [of(row), row]);
    const sign = descending ? -1 : 1;
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return typeof a === "string" ? sign * (a < b ? -1 : a > b ? 1 : 0) : sign * (a - b);
    });
    return keyed.map(([, row]) => row);
  }

  // The columns that the layers have: key, label, form, says.
  columns(layers, asked) {
    const has = new Set(["feature", "top", ...layers.flatMap((layer) => this.study.layers[layer].has)]);
    if (has.has("explanations")) has.add("explanation");
    const found = this.study.facts.table.filter((fact) => has.has(fact.key));
    const extra = [];
    if (layers.length > 1) extra.push({ key: "layer", label: "layer", form: "layer", says: "the layer's hook" });
    if (asked.ids) extra.push({ key: "rank", label: "token's rank", form: "rank", says: "1: the most promoted of all; −1: the most suppressed" });
    return [found[0], ...extra, ...found.slice(1)];
  }

  cell(fact, layer, feature, asked) {
    const columns = this.data[layer], value = this.value(fact.key, layer, feature);
    switch (fact.form) {
      case "layer": return [this.study.layers[layer].sae];
      case "rank": return [String(this.rank(asked.ids, asked.side, layer, feature)).replace("-", format.MINUS)];
      case "count": return [String(value)];
      case "type": return [chip(this.study.types[value])];
      case "set": case "text": return [value ?? format.ABSENT];
      case "q": return [format.q(value)];
      case "density": return [format.density(value, columns.dead[feature])[0]];
      case "tokens": return this.tokensOf(layer, feature, "top", 5).flatMap((text) => [element("code", {}, element("bdi", {}, format.token(text))), " "]);
      default: return [format.number(value)];
    }
  }

  // Comma-separated values of all rows. A text that a spreadsheet would take for a formula gets an apostrophe.
  csv(rows, facts, asked) {
    const quoted = (value) => {
      if (value === null || value === undefined) return "";
      if (typeof value === "number") return String(value);
      return `"${(/^[=+\-@\t\r]/.test(value) ? `'${value}` : value).replaceAll('"', '""')}"`;
    };
    const raw = (fact, layer, feature) => {
      if (fact.key === "layer") return this.study.layers[layer].sae;
      if (fact.key === "rank") return this.rank(asked.ids, asked.side, layer, feature);
      const value = this.value(fact.key, layer, feature);
      return fact.key === "type" ? this.study.types[value].name : value;
    };
    const lines = rows.map(([layer, feature]) => facts.map((fact) => quoted(raw(fact, layer, feature))).join(","));
    return `${[facts.map((fact) => fact.key).join(","), ...lines].join("\r\n")}\r\n`;
  }
}
