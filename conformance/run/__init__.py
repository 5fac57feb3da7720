"""Running cases: one case, its result, the process it runs in, a whole session."""
