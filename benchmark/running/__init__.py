"""Runs of the benchmark: who is asked what, and every answer kept."""
