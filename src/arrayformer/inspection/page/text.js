// The text in the colour of its surprise, and the panel about the chosen token.

function tokenRow(container, chosen) {
  const options = data.ids.map((id, i) => {
    const option = make("span", { role: "option", tabIndex: -1, id: `${container.id}-${i}` });
    container.append(...flowing(data.parts[i] ?? data.text[id], option));
    option.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && chosen(i, true));
    option.addEventListener("click", () => option.focus());
    return option;
  });
  container.addEventListener("pointerleave", () => show({ hovered: null, key: null }));
  roving(options, (key, i) => ({
    ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: n - 1,
    ArrowDown: lineAway(options, i, 1), ArrowUp: lineAway(options, i, -1),
  })[key], (i) => chosen(i, false));
  return options;
}

// A token as running text: `option` takes the part with ink, the space before it and the line ends after it stay outside.
function flowing(text, option) {
  const [, before, ink, after] = /^( ?)([^]*?)(\n*)$/.exec(text);
  for (const part of ink.split(/(\n)/)) {
    if (part === "\n") option.append(make("span", { className: "odd" }, "\u21b5"), "\n");
    else if (part !== "") option.append(/^ +$/.test(part) ? make("span", { className: "odd" }, "\u00b7".repeat(part.length)) : part);
  }
  if (after) option.append(make("span", { className: "odd" }, "\u21b5".repeat(after.length)));
  if (!option.hasChildNodes()) option.append(make("span", { className: "odd" }, "\u00b7"));
  if (/^(<(0x|id )|\u25cc)/.test(text)) option.classList.add("odd");
  return [before && ink + after ? before : "", option, after];
}

// The option nearest below (1) or above (-1).
function lineAway(options, i, direction) {
  const from = options[i].getBoundingClientRect();
  let best = i, nearest = Infinity;
  options.forEach((option, j) => {
    const box = option.getBoundingClientRect();
    const down = direction * (box.top - from.top);
    if (down < from.height / 2) return;
    const distance = 1000 * Math.round(down / from.height) + Math.abs(box.left - from.left);
    if (distance < nearest) [best, nearest] = [j, distance];
  });
  return best;
}

function selectIn(options, i) {
  options.forEach((option, j) => {
    option.setAttribute("aria-selected", j === i);
    option.tabIndex = j === state.token ? 0 : -1;
  });
}

function startText() {
  const options = tokenRow(byId("tokens"), (i, hover) => show(hover ? { hovered: i } : { token: i, hovered: null, key: null }));
  options.forEach((option, i) => {
    const loss = data.loss[i];
    shade(option, "--hot", loss === null ? 0 : Math.min(1, bits(loss) / 12));
    option.setAttribute("aria-label", `${named(data.ids[i])}, ${loss === null ? "first token" : `${bits(loss).toFixed(1)} bits`}`);
  });
  onChange(() => { selectIn(options, current()); panel(); });
}

function panel() {
  const i = current(), id = data.ids[i], loss = data.loss[i];
  byId("panel-token").replaceChildren(piece(id));
  shade(byId("panel-token"), "--hot", loss === null ? 0 : Math.min(1, bits(loss) / 12));
  const facts = [`token ${i + 1} of ${n}, id ${id}`, make("br")];
  if (loss === null) facts.push("Nothing stands before it, so nothing was expected.");
  else {
    const likelier = data.rank[i];
    facts.push(make("b", {}, percent(Math.exp(-loss))), " likely, ", make("b", {}, `${bits(loss).toFixed(2)} bits`), " of surprise; ",
      likelier === 0 ? "the model's first choice" : `choice no. ${(likelier + 1).toLocaleString("en")}`);
  }
  byId("panel-facts").replaceChildren(...facts);
  byId("next").replaceChildren(...nextRows(i));
  const effective = Math.exp(data.entropy[i]);
  byId("panel-entropy").textContent = `As undecided as between ${effective < 10 ? effective.toFixed(1) : Math.round(effective).toLocaleString("en")} equal tokens.`;
}

function nextRows(i) {
  const came = i + 1 < n ? data.ids[i + 1] : null;
  const highest = data.nextProbs[i][0];
  const row = (id, p, note) => {
    const item = make("li", { className: id === came ? "came" : "" }, piece(id), make("span", { className: "share" }, percent(p)));
    if (note) item.firstChild.append(make("small", {}, note));
    item.style.setProperty("--share", `${(100 * p) / highest}%`);
    return item;
  };
  const rows = data.nextIds[i].map((id, k) => row(id, data.nextProbs[i][k], id === came ? "came next" : ""));
  if (came !== null && !data.nextIds[i].includes(came)) {
    rows.push(row(came, Math.exp(-data.loss[i + 1]), `came next, rank ${(data.rank[i + 1] + 1).toLocaleString("en")}`));
  }
  return rows;
}
