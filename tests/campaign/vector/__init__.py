"""Index runs that are killed, on both stores, with readers that look on all the time."""
