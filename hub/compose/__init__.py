"""What the hub says of compositions without running them: their terms, and whether a graph fits. Needs no torch."""
