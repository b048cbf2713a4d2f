"""Training pods: recipes composed from features by a keyed merge."""
