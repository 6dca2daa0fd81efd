"""Keeps what each new application would compile anew: every test makes one, of the same routes and templates.

Compiling takes 40 ms for the routes, and about 10 ms for each template: more than most tests take for all the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType

import pytest
from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule


class Templates(BytecodeCache):
    """Compiled templates, by name, file and content."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give the code, where a template of the same content was compiled before."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code."""
        self._codes[bucket.key, bucket.checksum] = bucket.code


def keep(patch: pytest.MonkeyPatch) -> None:
    """From now on, compile each template and each route once in this process."""
    patch.setattr(Flask, "jinja_options", {**Flask.jinja_options, "bytecode_cache": Templates()})
    patch.setattr(Rule, "_compile_builder", _kept(Rule._compile_builder))


def _kept(compile_builder: Callable) -> Callable:
    """Werkzeug's function that builds a rule's address depends on nothing but the rule's text and defaults."""
    builders: dict[tuple, Callable] = {}

    def kept(rule: Rule, append_unknown: bool = True) -> Callable:
        key = (rule.rule, tuple(rule._trace), repr(rule.defaults), append_unknown)
        if key not in builders:
            builders[key] = compile_builder(rule, append_unknown)
        return builders[key]

    return kept
