"""Artifacts on the disk: content-addressed, crash-safe, with locks and the events of builds."""
