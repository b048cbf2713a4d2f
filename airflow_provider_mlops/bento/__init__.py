"""BentoML: build a Bento in an isolated environment."""
