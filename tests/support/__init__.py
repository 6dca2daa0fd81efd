"""Tools that tests of every room use: real servers, and short ways to act as a client."""
