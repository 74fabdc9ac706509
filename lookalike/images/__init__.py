"""From a file, bytes or pixels to an 8-bit RGB image."""
