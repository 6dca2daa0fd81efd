"""Running the service: processes, logs, request ids, health. These modules have no domain knowledge."""
