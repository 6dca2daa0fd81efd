"""Who may send events: ingest keys and admission."""
