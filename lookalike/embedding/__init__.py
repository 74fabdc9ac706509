"""Vectors of images: the hooked network, shards of Parquet, checks. Readers need neither torch nor OpenVINO."""
