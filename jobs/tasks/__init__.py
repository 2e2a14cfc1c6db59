"""Benchmarks: which tasks there are, how a model answers them, how the answers are scored."""
