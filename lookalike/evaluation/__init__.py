"""Measures of an index and of an embedding, and their report."""
