"""The REST API, one module per part of it."""
