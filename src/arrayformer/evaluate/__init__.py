"""How well does a model read? Measured by protocols that have a name, so that two figures can be compared."""
