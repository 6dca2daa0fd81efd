"""What tests of every room use: real servers, and short ways to say what a client does."""
