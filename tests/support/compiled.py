"""Cache what each new application would compile again: every test creates one, with the same routes and templates.

Compiling takes 60 ms for the routes and about 10 ms for each template, which is more than most tests take. So does
boto3's description of S3, which each session reads for 90 ms.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType

import pytest
import redis
from botocore.loaders import JSONFileLoader
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


def cache(patch: pytest.MonkeyPatch) -> None:
    """Compile each template and each route once in this process, and read each of boto3's descriptions once."""
    patch.setattr(Flask, "jinja_options", {**Flask.jinja_options, "bytecode_cache": Templates()})
    patch.setattr(Rule, "compile", _cached_parts(Rule.compile))
    patch.setattr(Rule, "_compile_builder", _cached_builders(Rule._compile_builder))
    patch.setattr(redis.utils, "get_lib_version", functools.cache(redis.utils.get_lib_version))  # read for each client
    read = functools.cache(JSONFileLoader().load_file)
    patch.setattr(JSONFileLoader, "load_file", lambda _, path: read(path))


def _cached_parts(compile_rule: Callable[[Rule], None]) -> Callable[[Rule], None]:
    """Cache what Werkzeug finds in a rule, which depends only on the rule's text and a few options."""
    cached: dict[tuple, dict[str, object]] = {}

    def compile_cached(rule: Rule) -> None:
        found = cached.get(key := _key(rule))
        if found is None:
            compile_rule(rule)
            cached[key] = {name: getattr(rule, name) for name in ("_parts", "_trace", "_converters", "arguments")}
            return
        rule.__dict__.update(found)
        rule._build = rule._compile_builder(False).__get__(rule)
        rule._build_unknown = rule._compile_builder(True).__get__(rule)

    return compile_cached


def _cached_builders(compile_builder: Callable) -> Callable:
    """Cache Werkzeug's functions that build the URLs of a rule."""
    cached: dict[tuple, Callable] = {}

    def compile_cached(rule: Rule, append_unknown: bool = True) -> Callable:
        key = (append_unknown, *_key(rule))
        if key not in cached:
            cached[key] = compile_builder(rule, append_unknown)
        return cached[key]

    return compile_cached


def _key(rule: Rule) -> tuple:
    options = (rule.host, rule.subdomain, rule.merge_slashes, rule.map.host_matching)
    return (rule.rule, *options, repr(rule.defaults), *rule.map.converters.values())
