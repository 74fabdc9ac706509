"""A small labelled set of drawn images, the same for the same seed, written as ordinary image files."""

# Part of the cache key: raise it whenever a picture changes.
GENERATOR_VERSION = 1
