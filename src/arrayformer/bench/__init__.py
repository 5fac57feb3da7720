"""`arrayformer bench`: how fast each backend is here, beside what this machine could do."""
