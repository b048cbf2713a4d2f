"""The demo: one command from nothing to a released, reversible service."""
