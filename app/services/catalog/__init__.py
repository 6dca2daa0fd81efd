"""The catalog of customers, products and event types."""
