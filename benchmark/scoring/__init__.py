"""Scores of the benchmark: as published, faults included, and ours beside them."""
