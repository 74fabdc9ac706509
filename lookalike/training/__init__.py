"""Fine-tuning a network: batches, frozen features, the two training loops, precision."""
