"""Recurring reports."""
