"""Users, sessions and the audit log in the database."""
