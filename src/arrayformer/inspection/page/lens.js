// The logit lens: layers down, tokens across, the last layer on top.

function startLens() {
  const table = byId("lens-table");
  const layers = [...data.lensIds.keys()].reverse();
  const head = make("tr", {}, make("th", { scope: "col" }, "after"));
  const columns = data.ids.map((id) => make("th", { scope: "col", title: named(id) }, piece(id)));
  head.append(...columns);
  table.append(make("thead", {}, head));
  const body = make("tbody");
  const cells = [];
  layers.forEach((layer) => {
    const row = make("tr", {}, make("th", { scope: "row" }, layerName(layer)));
    data.ids.forEach((_, i) => row.append(lensCell(layer, i, cells)));
    body.append(row);
  });
  table.append(body);
  roving(cells.map((cell) => cell.element), (key, k) => ({
    ArrowRight: (k + 1) % n ? k + 1 : k, ArrowLeft: k % n ? k - 1 : k, Home: k - (k % n), End: k - (k % n) + n - 1,
    ArrowDown: k + n < cells.length ? k + n : k, ArrowUp: k >= n ? k - n : k,
  })[key], (k) => {
    cells.forEach((cell, j) => { cell.element.tabIndex = j === k ? 0 : -1; });
    show({ token: cells[k].i, hovered: null, lens: cells[k].layer });
  });
  table.addEventListener("pointerleave", () => show({ hovered: null, lens: data.nLayer }));
  onChange(() => { markColumn(columns); readLens(state.lens, current()); });
}

const layerName = (layer) => (layer === 0 ? "embedding" : `layer ${layer - 1}`);

function lensCell(layer, i, cells) {
  const id = data.lensIds[layer][i][0], p = data.lensProbs[layer][i][0];
  const element = make("td", { tabIndex: cells.length ? -1 : 0, role: "gridcell" }, piece(id));
  element.setAttribute("aria-label", `${layerName(layer)}, after ${named(data.ids[i])}: ${named(id)}, ${percent(p)}`);
  shade(element, "--cool", p);
  if (i + 1 < n && id === data.ids[i + 1]) element.classList.add("right");
  element.addEventListener("pointerenter", (event) => {
    if (event.pointerType !== "mouse") return;
    show({ hovered: i, lens: layer });
  });
  element.addEventListener("click", () => element.focus());
  cells.push({ element, layer, i });
  return element;
}

function readLens(layer, i) {
  const parts = [make("b", {}, layerName(layer)), ", after ", piece(data.ids[i]), ": "];
  data.lensIds[layer][i].forEach((id, k) => {
    parts.push(k ? ",  " : "", piece(id), ` ${percent(data.lensProbs[layer][i][k])}`);
  });
  if (i + 1 < n) parts.push(";  what came ", piece(data.ids[i + 1]), ` ${percent(data.lensTrue[layer][i])}`);
  byId("lens-readout").replaceChildren(...parts);
}

function markColumn(columns) {
  const i = current();
  columns.forEach((column, j) => column.classList.toggle("chosen", j === i));
  if (byId("lens-scroll").matches(":hover")) return;
  const box = byId("lens-scroll"), column = columns[i], first = box.querySelector("th[scope=row]").offsetWidth;
  const left = column.offsetLeft - first - 8, right = column.offsetLeft + column.offsetWidth - box.clientWidth + 8;
  if (box.scrollLeft > left) box.scrollLeft = left;
  else if (box.scrollLeft < right) box.scrollLeft = right;
}
