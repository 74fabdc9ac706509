"""Limits of the hashing engines, which are also the bounds of their settings."""

# Keys are 32-bit words; more hyperplanes a table would leave its buckets empty anyway.
MAX_BITS = 32
MAX_TABLES = 1024
# A table has no more buckets.
MAX_PROBES = 2**MAX_BITS
# Beyond this, sums of squares of components would leave the range of float32.
LARGEST_COMPONENT = 1e15
# Rows are numbered by 32-bit integers.
MAX_ROWS = 2**31 - 1
