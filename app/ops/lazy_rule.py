"""URL rule that compiles its functions for building URLs only when the first URL is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Rule


class LazyRule(Rule):
    """URL rule that compiles its functions on first use.

    Compiling both functions of all rules takes a quarter of a second, but a process builds URLs of only a few rules,
    and a command of none.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        name = "_build_unknown" if append_unknown else "_build"

        def build(_rule: Rule, /, **values: Any) -> tuple[str, str]:  # noqa: ANN401
            compiled: Callable[..., tuple[str, str]]
            compiled = super(LazyRule, self)._compile_builder(append_unknown).__get__(self)
            setattr(self, name, compiled)
            return compiled(**values)

        return build
