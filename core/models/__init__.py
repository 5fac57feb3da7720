"""One page per architecture: its sizes, functions, weights, names in files, config keys and probes."""
