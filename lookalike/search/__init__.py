"""Answering queries: from an image to its most similar ones, as data, as a picture, as a page."""

from lookalike.search.results import QueryResult, SimilarImage
from lookalike.search.searcher import Searcher

__all__ = ["QueryResult", "Searcher", "SimilarImage"]
