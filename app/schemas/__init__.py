"""Schemas of requests, validated by marshmallow, and of responses, with their exact order of keys."""
