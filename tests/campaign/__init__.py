"""A campaign of bad days: the real engine against the GitLab stand-in, behind a proxy that spoils the network.

``python -m tests.campaign gitlab --runs 3000`` plays runs; each is determined by its seed.
"""
