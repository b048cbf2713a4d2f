"""A campaign of kills: workers, and the Weaviate server, die while vector indexes are written, rebuilt and cared for.

``python -m tests.campaign vector --kills 100 --server-kills 20`` plays lives of indexes; each is determined by its seed.
"""
