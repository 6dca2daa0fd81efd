"""The RQ queue of reports, and rate limits: everything that uses Redis."""
