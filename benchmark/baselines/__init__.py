"""What needs no model: how far guessing gets, and how far anybody could get."""
