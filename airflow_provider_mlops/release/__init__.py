"""Releases: one identity over model, image, values and index."""
