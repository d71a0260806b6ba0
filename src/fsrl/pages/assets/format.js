// Numbers as fsrl.pages.text and fsrl.pages.catalog print them, digit for digit; tests hold the two together.
"use strict";

const known = (value) => typeof value === "number" && Number.isFinite(value);

const format = (() => {
  const MINUS = "\u2212", ABSENT = "-", MARKS = /([\u2423\u23ce\u21e5]+)/;
  const minus = (text) => text.replaceAll("-", MINUS);

  // Halves go to the even digit, as in Python; JavaScript's own methods take them away from zero.
  function halfEven(text, exact, cut) {
    const [kept, rest] = [exact.slice(0, exact.length - cut), exact.slice(exact.length - cut)];
    return /^50*$/.test(rest) && /[02468]\.?$/.test(kept) ? kept.replace(/\.$/, "") : text;
  }

  function fixed(value, decimals) {
    const size = Math.abs(value), text = size.toFixed(decimals);
    const even = size >= 1e21 ? text : halfEven(text, size.toFixed(Math.min(100, decimals + 40)), Math.min(100, decimals + 40) - decimals);
    return (value < 0 ? "-" : "") + even;
  }

  function scientific(value, decimals) {
    const size = Math.abs(value), text = size.toExponential(decimals);
    const [mantissa, exponent] = text.split("e");
    const [exact, own] = size.toExponential(decimals + 40).split("e");
    const even = own === exponent ? halfEven(mantissa, exact, 40) : mantissa;
    return [(value < 0 ? "-" : "") + even, Number(exponent)];
  }

  function grouped(text) {
    const [whole, ...rest] = text.split(".");
    return [whole.replace(/\B(?=(\d{3})+$)/g, ","), ...rest].join(".");
  }

  // Three digits, or whole numbers.
  function number(value, digits = 3) {
    if (!known(value)) return ABSENT;
    const [mantissa, exponent] = scientific(value, digits - 1);
    const size = Math.abs(Number(`${mantissa}e${exponent}`));
    if (size && (size < 1e-3 || size >= 1e6)) return minus(`${mantissa}e${exponent}`);
    return minus(grouped(fixed(value, size ? Math.max(0, digits - 1 - exponent) : 0)));
  }

  // Signed, with the same decimals: three digits of the largest.
  function column(values) {
    const sizes = values.filter((value) => known(value) && value).map(Math.abs);
    const largest = sizes.length ? Math.max(...sizes) : 1;
    if (!(largest >= 1e-3 && largest < 1e6)) return values.map((value) => number(value));
    const decimals = Math.max(0, 2 - Math.floor(Math.log10(largest)));
    return values.map((value) => known(value) ? minus((value < 0 || Object.is(value, -0) ? "" : "+") + grouped(fixed(value, decimals))) : ABSENT);
  }

  // 10 ** log10, however small.
  function power(log10) {
    if (!known(log10)) return ABSENT;
    if (log10 > -3) return number(10 ** log10, 2);
    let exponent = Math.floor(log10), mantissa = fixed(10 ** (log10 - exponent), 1);
    if (mantissa === "10.0") [mantissa, exponent] = ["1.0", exponent + 1];
    return minus(`${mantissa}e${exponent}`);
  }

  // Two digits, without zeros at the end, as Python's %.2g.
  function short(value) {
    if (!value) return "0";
    const [mantissa, exponent] = scientific(value, 1);
    const bare = (text) => text.includes(".") ? text.replace(/\.?0+$/, "") : text;
    if (exponent < -4) return `${bare(mantissa)}e-${String(-exponent).padStart(2, "0")}`;
    return bare(fixed(value, Math.max(0, 1 - exponent)));
  }

  const percent = (share) => Math.abs(100 * share) >= 1 ? `${fixed(100 * share, 1)} %` : `${short(100 * share)} %`;

  function density(log10, dead) {
    if (!known(log10)) return [ABSENT, "density unknown"];
    return [dead ? "dead" : percent(10 ** log10), `of tokens; log₁₀ ${number(log10)}`];
  }

  // A share of null directions: how far out a feature lies.
  function rank(share) {
    if (!known(share)) return ABSENT;
    if (share === 0) return "below all";
    if (share === 1) return "above all";
    const most = percent(share > 0.5 ? share : 1 - share); // which is not all
    return `${share > 0.5 ? "above" : "below"} ${most === "100.0 %" ? "more than 99.9 %" : most}`;
  }

  const q = (log10) => known(log10) ? number(10 ** log10, 2) : ABSENT;
  const count = (value) => known(value) ? grouped(String(value)) : ABSENT;

  // A token's nodes: marks that stand for white space are apart.
  const token = (shown) => shown.split(MARKS).filter(Boolean)
    .map((piece) => MARKS.test(piece) ? element("i", {}, piece) : piece);

  return { number, column, power, q, percent, density, rank, count, token, grouped, ABSENT, MINUS };
})();
