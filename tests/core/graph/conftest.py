from tests.core.graph.libraries import asarray, config, params

__all__ = ["asarray", "config", "params"]
