"""Searches that divide the space: a tree of cells, the sweep that chooses among them, and the algorithms
that hold one.
"""
