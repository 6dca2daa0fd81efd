"""Users: accounts, sign-in, sessions, passwords, permissions and the audit log."""
