"""Real servers for tests: one small module each, on a common base.

``python -m tests.servers build`` makes what is missing, ``list`` says what there is, and ``start NAME``
runs one by hand. Tests take the fixtures of :mod:`tests.servers.fixtures`.
"""
