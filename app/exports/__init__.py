"""Writing of rows to report files."""
