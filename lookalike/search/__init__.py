"""Answering queries: from an image to its most similar ones, as data, as a picture, as a page."""

from lookalike.search.results import Neighbor, QueryResult
from lookalike.search.searcher import Searcher

__all__ = ["Neighbor", "QueryResult", "Searcher"]
