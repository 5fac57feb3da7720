function startHeader() {
  const facts = {
    model: data.model, backend: `${data.backend} (${data.device}, ${data.dtype})`, size: `${data.nLayer} layers, ${data.nHead} heads`,
    tokens: n.toLocaleString("en"), perplexity: data.perplexity === null ? "∞" : data.perplexity < 1e4 ? data.perplexity.toFixed(1) : data.perplexity.toExponential(1),
  };
  byId("facts").append(...Object.entries(facts).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  const themes = ["auto", "light", "dark"];
  byId("theme").addEventListener("click", () => {
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % 3];
    document.documentElement.dataset.theme = next;
    byId("theme").textContent = `Theme: ${next}`;
  });
}

startHeader();
startText();
startLens();
startAttention();
startNorms();
startComparison();
show({});
