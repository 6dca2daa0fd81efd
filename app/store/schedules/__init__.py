"""Schedules and webhook deliveries in the database."""
