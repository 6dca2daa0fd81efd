"""Alerts: rules about events and the service, what is normal, and who is notified when."""
