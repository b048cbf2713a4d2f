"""Operators of this station, one module each."""
