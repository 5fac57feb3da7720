"""What a model does with a text, layer by layer: gathered through the graph's own taps, shown as a page or as lines."""
