"""Tests of `clients/js`."""
