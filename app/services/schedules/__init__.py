"""Recurring reports and the webhooks that deliver them."""
