// Norms: the stream's length from layer to layer, and what is added to it.

function startNorms() {
  onChange(() => { byId("norms-chart").replaceChildren(chart(current()), keys()); normsTable(current()); });
}

function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const middleOf = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

function chart(token) {
  const narrow = byId("norms-chart").clientWidth < 520;
  const width = narrow ? 380 : 760, height = narrow ? 240 : 250, left = 44, bottom = 28, top = 10;
  const steps = data.residual.length, all = [...data.residual, ...data.attnOut, ...data.mlpOut].flat();
  // Tokens without anything before them are often far longer than the rest: a logarithmic scale shows both.
  const low = Math.log10(Math.max(1e-6, Math.min(...all))), high = Math.log10(Math.max(...all)) || 1;
  const x = (step) => left + ((step + 0.5) * (width - left)) / steps;
  const y = (value) => top + (1 - (Math.log10(Math.max(value, 1e-6)) - low) / (high - low || 1)) * (height - bottom - top);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Norms by layer of ${named(data.ids[token])}; the numbers are below` });
  for (const tick of ticks(low, high)) {
    root.append(svg("line", { class: "axis", x1: left, x2: width, y1: y(tick), y2: y(tick) }), svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, `${tick}`));
  }
  const points = (values) => values.map((value, step) => (value === null ? "" : `${x(step).toFixed(1)} ${y(value).toFixed(1)}`)).filter(Boolean);
  const path = (values) => `M${points(values).join("L")}`;
  const upper = data.residual.map((row) => Math.max(...row)), lower = data.residual.map((row) => Math.min(...row));
  root.append(svg("path", { class: "band", d: `M${[...points(upper), ...points(lower).reverse()].join("L")}Z` }));
  for (const [name, rows] of [["attn", data.attnOut], ["mlp", data.mlpOut]]) {
    root.append(svg("path", { class: name, d: path([null, ...rows.map((row) => row[token])]) }));
    rows.forEach((row, layer) => root.append(svg("circle", { class: name, cx: x(layer + 1), cy: y(row[token]), r: 2.6 })));
  }
  root.append(svg("path", { class: "middle", d: path(data.residual.map(middleOf)) }), svg("path", { class: "own", d: path(data.residual.map((row) => row[token])) }));
  data.residual.forEach((row, step) => {
    root.append(svg("circle", { class: "own", cx: x(step), cy: y(row[token]), r: 3 }));
    const every = Math.ceil(steps / (narrow ? 8 : 16));
    if (step % every === 0) root.append(svg("text", { x: x(step), y: height - 8, "text-anchor": "middle" }, step ? `L${step - 1}` : "emb"));
  });
  return root;
}

// 1, 2, 5, 10, 20, ... between two powers of ten
function ticks(low, high) {
  const found = [];
  for (let power = Math.floor(low); power <= high; power++) {
    for (const digit of high - low > 3 ? [1] : high - low > 1.5 ? [1, 3] : [1, 2, 5]) {
      const tick = digit * 10 ** power;
      if (Math.log10(tick) >= low - 1e-9 && Math.log10(tick) <= high + 1e-9) found.push(Number(tick.toPrecision(1)));
    }
  }
  return found;
}

function keys() {
  const key = (colour, text) => {
    const sign = make("i");
    sign.style.background = `var(${colour})`;
    return make("span", {}, sign, text);
  };
  return make("div", { className: "keys" }, key("--mark", "stream, chosen token"), key("--soft", "stream, median and range of all tokens"), key("--cool", "attention adds"), key("--hot", "feed-forward network adds"));
}

function normsTable(token) {
  const row = (name, cells) => make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((cell) => make("td", {}, cell)));
  const shown = (value) => value.toPrecision(4);
  const head = make("tr", {}, make("th", {}, piece(data.ids[token])), ...data.residual.map((_, step) => make("th", { scope: "col" }, step ? `L${step - 1}` : "embedding")));
  byId("norms-table").replaceChildren(make("thead", {}, head), make("tbody", {},
    row("stream", data.residual.map((values) => shown(values[token]))),
    row("attention adds", ["", ...data.attnOut.map((values) => shown(values[token]))]),
    row("feed-forward adds", ["", ...data.mlpOut.map((values) => shown(values[token]))])));
}
