"""Stage evaluate_recall: how much of the exact answer the index finds, and how good that answer is."""

from lookalike.evaluation.evaluate import evaluate_recall

__all__ = ["evaluate_recall"]
