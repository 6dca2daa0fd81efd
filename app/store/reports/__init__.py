"""Reports, their parts and attempts in the database."""
