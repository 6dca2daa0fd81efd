"""How rows become a report file."""
