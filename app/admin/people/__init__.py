"""Pages about users, sessions and the audit log. Each module adds its pages to the blueprint."""

from app.admin.people import (
    audit,
    end_sessions,
    kept_forms,
    people,
    profile,
    saved_views,
    second_factor,
    sign_in,
    single_sign_on,
    tokens,
)

__all__ = [
    "audit",
    "end_sessions",
    "kept_forms",
    "people",
    "profile",
    "saved_views",
    "second_factor",
    "sign_in",
    "single_sign_on",
    "tokens",
]
