"""Access control for sending events: ingest keys and admission."""
