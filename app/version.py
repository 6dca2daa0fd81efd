"""The version of the service, in one place: packaging, `/system/version` and `/openapi.json` read it here."""

VERSION = "0.1.0"
