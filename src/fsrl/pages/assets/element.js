// Elements of a page. Text becomes text nodes: nothing here, or elsewhere, parses it as HTML.
"use strict";

// An element with attributes (functions: listeners) and children: nodes, or text.
function element(tag, attributes = {}, ...children) {
  const made = ["svg", "path", "rect", "text", "g", "title", "defs", "pattern"].includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

// A type in its colour, with black or white ink, whichever is told better.
function chip(type) {
  const parts = [1, 3, 5].map((i) => Number.parseInt(type.color.slice(i, i + 2), 16) / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  const ink = (luminance + 0.05) ** 2 > 0.05 * 1.05 ? "#000000" : "#ffffff";
  return element("b", { class: "chip", style: `background: ${type.color}; color: ${ink}` }, type.label);
}
