"""Vector indexes that are never half-made."""
