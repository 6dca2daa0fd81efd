"""Cache what each new application would compile again: every test creates one, with the same routes and templates.

Compiling takes 60 ms for the routes and about 10 ms for each template, which is more than most tests take.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType

import pytest
import redis
from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule


class Templates(BytecodeCache):
    """Compiled templates by name, file and content."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Load the code of a template if the same content was compiled before."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Store the code of a template."""
        self._codes[bucket.key, bucket.checksum] = bucket.code


def keep(patch: pytest.MonkeyPatch) -> None:
    """Compile each template and each route once in this process."""
    patch.setattr(Flask, "jinja_options", {**Flask.jinja_options, "bytecode_cache": Templates()})
    patch.setattr(Rule, "compile", _kept(Rule.compile))
    patch.setattr(redis.utils, "get_lib_version", functools.cache(redis.utils.get_lib_version))  # read for each client


def _kept(compile_rule: Callable[[Rule], None]) -> Callable[[Rule], None]:
    """Cache Werkzeug's function that compiles a rule, which depends only on the rule's text and a few options."""
    compiled: dict[tuple, dict[str, object]] = {}

    def compile_cached(rule: Rule) -> None:
        options = (rule.host, rule.subdomain, rule.merge_slashes, rule.map.host_matching, repr(rule.defaults))
        key = (rule.rule, *options, frozenset(rule.map.converters.items()))
        if key not in compiled:
            compile_rule(rule)
            compiled[key] = {name: getattr(rule, name) for name in ("_parts", "_trace", "_converters", "arguments")}
            compiled[key] |= {name: getattr(rule, name).__func__ for name in ("_build", "_build_unknown")}
        for name, value in compiled[key].items():
            setattr(rule, name, value.__get__(rule) if name.startswith("_build") else value)

    return compile_cached
