"""Checks of result objects of any product: each fault is named with its part, what was expected, and its source."""
