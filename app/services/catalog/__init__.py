"""Catalog of customers, products and event types."""
