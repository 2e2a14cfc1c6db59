"""Searches of other libraries, which keep the laws of `base` here."""
