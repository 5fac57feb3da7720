// Two backends: how far each tensor of the graph is from the other's.

function startComparison() {
  const found = data.comparison;
  if (!found) return;
  byId("comparison").hidden = false;
  const relative = (step) => (step.scale > 0 ? step.largest / step.scale : step.largest);
  const worst = found.steps.reduce((a, b) => (relative(b) > relative(a) ? b : a));
  byId("comparison-title").textContent = `${data.backend} and ${found.backend}`;
  byId("comparison-summary").textContent =
    `${data.backend} (${data.device}, ${data.dtype}) and ${found.backend} (${found.device}, ${found.dtype}) hold the same next token for the likeliest at ` +
    `${found.same_top} of ${found.n} places; their distributions differ by at most ${found.divergence.toExponential(1)} nats (Kullback-Leibler). ` +
    `Furthest apart is ${worst.name}, by ${relative(worst).toExponential(1)}, at token ${worst.token + 1} ${named(data.ids[worst.token])}.`;
  const names = [...new Set(found.steps.filter((step) => step.name.startsWith("h.")).map((step) => step.name.split(".").slice(2).join(".")))];
  const cell = (step) => {
    if (!step) return make("td");
    const value = relative(step);
    const element = make("td", { title: `${step.name}: at most ${step.largest.toExponential(2)} at token ${step.token + 1}` }, value ? value.toExponential(0) : "0");
    // From float32's rounding (1e-7) to nonsense (1).
    shade(element, "--hot", value ? Math.max(0, Math.min(1, (Math.log10(value) + 7) / 7)) : 0);
    return element;
  };
  const byName = new Map(found.steps.map((step) => [step.name, step]));
  const rows = [];
  for (let layer = 0; layer < data.nLayer; layer++) {
    rows.push(make("tr", {}, make("th", { scope: "row" }, `layer ${layer}`), ...names.map((name) => cell(byName.get(`h.${layer}.${name}`)))));
  }
  for (const name of ["embed", "ln_f", "logits"]) {
    const row = make("tr", {}, make("th", { scope: "row" }, name), cell(byName.get(name)));
    if (name === "embed") rows.unshift(row);
    else rows.push(row);
  }
  byId("comparison-table").append(make("thead", {}, make("tr", {}, make("th"), ...names.map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...rows));
}
