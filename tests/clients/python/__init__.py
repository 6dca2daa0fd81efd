"""Tests of `clients/python`."""
