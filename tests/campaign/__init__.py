"""Campaigns of bad days: thousands of runs against what can go wrong, each determined by its seed.

``python -m tests.campaign gitlab``: the real engine against the GitLab stand-in, behind a proxy that spoils the network.
``python -m tests.campaign vector``: see :mod:`tests.campaign.vector`.
"""
