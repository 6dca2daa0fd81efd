"""Version of the service, read from here by packaging, `/system/version` and `/openapi.json`."""

VERSION = "0.1.0"
