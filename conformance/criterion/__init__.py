"""What right means: probes, the oracle, the metrics and their limits."""
