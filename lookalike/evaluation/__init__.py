"""Stage evaluate_recall: how much of the exact answer the index finds, and how good that answer is."""

from lookalike.evaluation.evaluate import evaluate_recall
from lookalike.evaluation.gate import check_gate

__all__ = ["check_gate", "evaluate_recall"]
