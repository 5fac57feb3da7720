"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const n = data.ids.length;
const state = { token: Math.min(1, n - 1), hovered: null, layer: Math.floor(data.nLayer / 2), head: 0, key: null, lens: data.nLayer };
const listeners = [];

const byId = (id) => document.getElementById(id);
const current = () => state.hovered ?? state.token;
const percent = (p) => (p >= 0.0995 ? `${(100 * p).toFixed(0)} %` : p >= 0.00095 ? `${(100 * p).toFixed(1)} %` : p > 0 ? "< 0.1 %" : "0 %");
const bits = (nats) => nats / Math.LN2;

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// A token so that all of it can be seen: spaces at its ends as dots, line ends and tabs as signs.
function piece(id) {
  const span = make("span", { className: "piece" });
  for (const part of data.text[id].split(/(^ +| +$|\n|\t)/)) {
    if (part === "") continue;
    const sign = { "\n": "\u21b5", "\t": "\u21e5" }[part] ?? (/^ +$/.test(part) ? "\u00b7".repeat(part.length) : null);
    span.append(sign ? make("span", { className: "gap" }, sign) : part);
  }
  return span;
}

// The same as plain text, for titles and screen readers.
const named = (id) => `\u201c${data.text[id].replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5")}\u201d`;

function shade(element, colour, share) {
  element.style.backgroundColor = share > 0.004 ? `color-mix(in oklab, var(${colour}) ${(100 * share).toFixed(1)}%, transparent)` : "";
}

function onChange(listener) {
  listeners.push(listener);
}

function show(change) {
  Object.assign(state, change);
  for (const listener of listeners) listener();
}

// One tab stop for many elements; arrow keys go from one to the next. `step` names the neighbour for a key.
function roving(elements, step, focused) {
  elements.forEach((element, i) => {
    element.addEventListener("keydown", (event) => {
      const next = step(event.key, i);
      if (next === undefined) return;
      event.preventDefault();
      elements[Math.max(0, Math.min(elements.length - 1, next))].focus();
    });
    element.addEventListener("focus", () => focused(i));
  });
}
