"""The build as a whole: which stages there are and when they are stale, the gate, publishing, maintenance."""
