"""Notifications of people and programs: webhooks, and the client for their servers."""
