"""Running the service: processes, logs, request ids, health. Nothing in here knows what an event is."""
