"""Settings and figures about the installation in the database."""
