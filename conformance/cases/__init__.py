"""The cases, one module for each kind. `conformance.registry` imports them."""
