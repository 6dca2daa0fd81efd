"""Alerts in the database: rules, what is normal, alerts and the messages about them."""
