"""Benchmarks with limits measured in the same run, and a generator of demo events.

Nothing in `app` imports from here.
"""
