"""The configuration: its sections, and how they are read from YAML and the command line."""
