"""Running the installation: scheduler, health, metrics, retention, first start."""
