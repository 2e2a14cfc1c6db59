"""Searches that learn nothing: designs that fill the space."""
