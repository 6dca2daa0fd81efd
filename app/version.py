"""Version of the service, read from here by packaging, `/system/version` and `/openapi.json`."""

VERSION = "1.0.0"
