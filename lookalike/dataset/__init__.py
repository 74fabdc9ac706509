"""The images of a collection: found, decoded, split, stored as a catalog."""
