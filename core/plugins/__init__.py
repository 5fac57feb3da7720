"""Plugins: their hooks, how they are found in package metadata, how one is loaded."""
