"""Cache what each new application would compile again: every test creates one, with the same routes and templates.

Compiling takes 60 ms for the routes and about 10 ms for each template, which is more than most tests take. Even to
register compiled routes takes 7 ms, so applications with equal routes share their rules. boto3's description of S3,
which each session reads, takes 90 ms.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import CodeType
from typing import ClassVar

import pytest
import redis
from botocore.loaders import JSONFileLoader
from flask import Flask
from flask.sansio.scaffold import setupmethod
from flask.typing import RouteCallable
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Map
from werkzeug.routing.matcher import StateMachineMatcher

OF_VIEW = ("methods", "required_methods", "provide_automatic_options")  # attributes of views that rules depend on


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


class Routes:
    """The calls of `add_url_rule` of an application, which are executed when its URL map is first used.

    Applications with equal calls share the rules of the first of them.
    """

    _kept: ClassVar[dict[tuple, dict[str, object]]] = {}  # rules by the calls that added them

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []
        self._key: list[tuple] = []

    def append(self, call: Callable[[], None], *key: object) -> None:
        """Note a call, and all that its rule depends on."""
        self._calls.append(call)
        self._key.append(key)

    def fill(self, url_map: Map, update: Callable[[Map], None]) -> None:
        """Give the URL map its rules, and sort them if they are new."""
        if (key := tuple(self._key)) not in self._kept:
            url_map._rules_by_endpoint = {}
            url_map._matcher = StateMachineMatcher(url_map.merge_slashes)
            converters = url_map.converters
            for call in self._calls:
                call()
            url_map.converters = converters
            update(url_map)
            self._kept[key] = {name: vars(url_map)[name] for name in ("_rules_by_endpoint", "_matcher")}
        vars(url_map).update(self._kept[key], _remap=False)


def keep(patch: pytest.MonkeyPatch) -> None:
    """Compile each template and each route once in this process, and read each of boto3's descriptions once."""
    patch.setattr(Flask, "jinja_options", {**Flask.jinja_options, "bytecode_cache": Templates()})
    patch.setattr(Flask, "add_url_rule", _adding_later(Flask.add_url_rule.__wrapped__))
    patch.setattr(Map, "update", _filling_first(Map.update))
    patch.setattr(redis.utils, "get_lib_version", functools.cache(redis.utils.get_lib_version))  # read for each client
    read = functools.cache(JSONFileLoader().load_file)
    patch.setattr(JSONFileLoader, "load_file", lambda _, path: read(path))


def _adding_later(add: Callable[..., None]) -> Callable[..., None]:
    """Register views as Flask's `add_url_rule` does, but leave the rules to the first use of the URL map."""

    @setupmethod
    def add_url_rule(
        app: Flask,
        rule: str,
        endpoint: str | None = None,
        view_func: RouteCallable | None = None,
        provide_automatic_options: bool | None = None,
        **options: object,
    ) -> None:
        name = endpoint or view_func.__name__
        if view_func is not None and app.view_functions.setdefault(name, view_func) != view_func:
            raise AssertionError(f"{name} has two views")
        url_map = app.url_map
        converters = url_map.converters.copy()

        def call() -> None:
            url_map.converters = converters  # later ones do not apply
            add(app, rule, name, view_func, provide_automatic_options, **options)

        of_view = [repr(getattr(view_func, one, None)) for one in OF_VIEW]
        key = (rule, name, provide_automatic_options, repr(options), *of_view, *converters.values())
        if "routes" not in vars(url_map):
            url_map.routes = Routes()
        url_map.routes.append(call, *key)
        url_map._remap = True

    return add_url_rule


def _filling_first(update: Callable[[Map], None]) -> Callable[[Map], None]:
    """Give a URL map its rules before the first use."""
    filling = threading.RLock()

    def fill_and_update(url_map: Map) -> None:
        if url_map._remap and (routes := getattr(url_map, "routes", None)):
            with filling:
                routes.fill(url_map, update)
        update(url_map)

    return fill_and_update
