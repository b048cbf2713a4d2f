"""The example service: tells which standard library module a text belongs to, and finds texts by meaning."""
