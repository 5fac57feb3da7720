// Attention: a picture of every head, the chosen one as a matrix, and the text in the colour of its weights.

const bytes = Uint8Array.from(atob(data.attention), (character) => character.charCodeAt(0));
const triangle = (n * (n + 1)) / 2;
const headNames = data.heads === data.nHead && data.heads > 1
  ? [...Array(data.heads).keys(), "mean"] : data.heads === data.nHead ? [0] : ["mean"];
const means = new Map();

// Which keys a head reads, where several heads share them.
function shared(head) {
  return data.nKvHead < data.nHead ? `, keys ${Math.floor(head / (data.nHead / data.nKvHead))}` : "";
}

// The lower triangle of a head, row by row: bytes that are 255 times the square root of a weight.
function levels(layer, head) {
  const of = (h) => bytes.subarray((layer * data.heads + h) * triangle, (layer * data.heads + h + 1) * triangle);
  if (head < data.heads) return of(head);
  if (!means.has(layer)) {
    const sums = new Float32Array(triangle);
    for (let h = 0; h < data.heads; h++) of(h).forEach((level, at) => { sums[at] += level * level; });
    means.set(layer, Uint8Array.from(sums, (sum) => Math.round(Math.sqrt(sum / data.heads))));
  }
  return means.get(layer);
}

// How much `query` looks at `key`.
function weight(layer, head, query, key) {
  return key > query ? 0 : (levels(layer, head)[(query * (query + 1)) / 2 + key] / 255) ** 2;
}

// A head as a picture of `size` by `size`; where that is fewer than n, the largest weight of each part shows.
function paint(canvas, layer, head, [red, green, blue], size = n) {
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d"), image = context.createImageData(size, size);
  const pixels = image.data, all = levels(layer, head), place = Uint16Array.from({ length: n }, (_, i) => Math.floor((i * size) / n));
  for (let query = 0, at = 0; query < n; query++) {
    for (let key = 0; key <= query; key++, at++) {
      const pixel = 4 * (place[query] * size + place[key]);
      if (all[at] <= pixels[pixel + 3]) continue;
      pixels[pixel] = red;
      pixels[pixel + 1] = green;
      pixels[pixel + 2] = blue;
      pixels[pixel + 3] = all[at];
    }
  }
  context.putImageData(image, 0, 0);
}

function colourOf(name) {
  const probe = make("canvas", { width: 1, height: 1 }), context = probe.getContext("2d", { willReadFrequently: true });
  byId("matrix").style.color = `var(${name})`;
  context.fillStyle = getComputedStyle(byId("matrix")).color;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data];
}

function startAttention() {
  if (data.heads === 0) {
    byId("attention").querySelector(".hint").textContent = `The attention of the backend ${data.backend} does not say where it looks.`;
    for (const part of byId("attention").querySelectorAll(".attention, .readout, .tokens, .legend")) part.hidden = true;
    return;
  }
  state.head = 0;
  const buttons = headButtons();
  const options = tokenRow(byId("looks"), (i, hover) => show(hover ? { hovered: i, key: null } : { token: i, hovered: null, key: null }));
  const matrix = startMatrix();
  const draw = () => {
    const cool = colourOf("--ray");
    buttons.forEach(({ canvas, layer, head }) => paint(canvas, layer, head, cool, Math.min(n, 64)));
    matrix.repaint();
  };
  onChange(() => {
    buttons.forEach(({ button, layer, head }) => {
      const chosen = layer === state.layer && head === state.head;
      button.setAttribute("aria-checked", chosen);
      button.tabIndex = chosen ? 0 : -1;
    });
    byId("head-name").textContent = `Layer ${state.layer}, ${headNames[state.head] === "mean" ? "mean of all heads" : `head ${state.head}${shared(state.head)}`}`;
    looks(options);
    matrix.draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  byId("theme").addEventListener("click", draw);
  draw();
}

function headButtons() {
  const grid = byId("heads"), found = [];
  grid.style.gridTemplateColumns = `auto repeat(${headNames.length}, auto)`;
  grid.append(make("span", { className: "name" }, ""), ...headNames.map((name) => make("span", { className: "name" }, name === "mean" ? name : `H${name}`)));
  for (let layer = 0; layer < data.nLayer; layer++) {
    grid.append(make("span", { className: "name" }, `L${layer}`));
    headNames.forEach((name, head) => {
      const canvas = make("canvas");
      const button = make("button", { type: "button", tabIndex: -1 }, canvas);
      button.setAttribute("role", "radio");
      button.setAttribute("aria-label", `layer ${layer}, ${name === "mean" ? "mean of all heads" : `head ${name}${shared(name)}`}`);
      button.addEventListener("click", () => { button.focus(); show({ layer, head }); });
      grid.append(button);
      found.push({ button, canvas, layer, head });
    });
  }
  const wide = headNames.length;
  roving(found.map(({ button }) => button), (key, k) => ({
    ArrowRight: k + 1, ArrowLeft: k - 1, ArrowDown: k + wide < found.length ? k + wide : k, ArrowUp: k >= wide ? k - wide : k,
    Home: k - (k % wide), End: k - (k % wide) + wide - 1,
  })[key], (k) => show({ layer: found[k].layer, head: found[k].head }));
  return found;
}

// The row of tokens in the colour of what the chosen one looks at, and the strongest of them in words.
function looks(options) {
  const query = current();
  selectIn(options, query);
  const row = options.map((_, key) => weight(state.layer, state.head, query, key));
  options.forEach((option, key) => {
    shade(option, "--cool", Math.sqrt(row[key]));
    option.classList.toggle("later", key > query);
    option.title = key > query ? "" : percent(row[key]);
    option.setAttribute("aria-label", `${named(data.ids[key])}${key > query ? ", comes later" : `, ${percent(row[key])}`}`);
  });
  const parts = [piece(data.ids[query])];
  if (state.key !== null) {
    parts.push(" looks at ", piece(data.ids[state.key]), state.key > query ? ", which comes later: 0 %" : ` with ${percent(row[state.key])}`);
  } else {
    const order = row.map((_, key) => key).sort((a, b) => row[b] - row[a]).slice(0, 5).filter((key) => row[key] > 0.005);
    parts.push(" looks most at ");
    order.forEach((key, k) => parts.push(k ? ",  " : "", piece(data.ids[key]), ` ${percent(row[key])}`));
  }
  byId("matrix-readout").replaceChildren(...parts);
}

function startMatrix() {
  const canvas = byId("matrix"), picture = make("canvas");
  let painted = "", line = [];
  const draw = () => {
    const size = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio)), cell = size / n;
    if (painted !== `${state.layer} ${state.head}`) repaint(false);
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, 0, 0, size, size);
    context.strokeStyle = `rgb(${line[0]} ${line[1]} ${line[2]})`;
    context.lineWidth = Math.max(1, 1.5 * devicePixelRatio);
    context.strokeRect(0, current() * cell, size, cell);
    if (state.key !== null) context.strokeRect(state.key * cell, 0, cell, size);
  };
  const repaint = (again = true) => {
    line = colourOf("--mark");
    paint(picture, state.layer, state.head, colourOf("--ray"));
    painted = `${state.layer} ${state.head}`;
    if (again) draw();
  };
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const place = (offset, length) => Math.max(0, Math.min(n - 1, Math.floor((offset / length) * n)));
    return { query: place(event.clientY - box.top, box.height), key: place(event.clientX - box.left, box.width) };
  };
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse") return;
    const { query, key } = at(event);
    if (query !== state.hovered || key !== state.key) show({ hovered: query, key });
  });
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && show({ hovered: null, key: null }));
  canvas.addEventListener("click", (event) => { const { query, key } = at(event); show({ token: query, hovered: null, key }); });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    const within = (x) => Math.max(0, Math.min(n - 1, x));
    show({ token: within(state.token + move[0]), key: within((state.key ?? state.token) + move[1]), hovered: null });
  });
  canvas.setAttribute("aria-label", "Attention matrix: queries down, keys across. Arrow keys move.");
  new ResizeObserver(draw).observe(canvas);
  return { draw, repaint };
}
