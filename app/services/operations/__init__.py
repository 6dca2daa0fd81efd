"""Operation of the installation: scheduler, health, metrics, retention, bootstrap."""
