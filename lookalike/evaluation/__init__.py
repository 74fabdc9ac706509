"""Measures of an index and of an embedding, as functions of arrays, and their report."""
