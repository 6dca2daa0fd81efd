"""Accepting, listing, importing, rejecting and resending events."""
