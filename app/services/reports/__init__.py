"""Reports, from the request to the finished file."""
