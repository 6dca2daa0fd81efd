"""Catalog pages: products, types and customers, and observed codes that are not in the catalog."""

from __future__ import annotations

from collections.abc import Mapping

from flask import render_template, request
from markupsafe import Markup
from werkzeug.wrappers import Response

from app.admin.blueprint import blueprint, services
from app.admin.pages import Values, action, link_to, page, redirect_with
from app.auth import caller
from app.services.catalog.editor import ADOPTED_AT_ONCE
from app.services.catalog.listing import CUSTOMERS, KINDS, PRODUCTS, TYPES, CatalogEntry, Key

PAGE_SIZE = 100
MAX_PAGE = 1_000_000
MISSING = "missing"  # a tab beside the three kinds: observed codes that are not in the catalog
TABS = {PRODUCTS: "Products", TYPES: "Types", CUSTOMERS: "Customers", MISSING: "Not in the catalog"}


@page("/catalog", defaults={"kind": PRODUCTS})
def catalog(kind: str) -> str:
    return render_template("admin/catalog/catalog.html", **_entries(kind))


for _kind in (TYPES, CUSTOMERS, MISSING):
    blueprint.add_url_rule(f"/catalog/{_kind}", "catalog", defaults={"kind": _kind}, methods=["GET"])


@page("/catalog/part")
def catalog_part() -> str:
    kind = request.args.get("kind", "")
    return render_template("admin/catalog/_catalog.html", **_entries(kind if kind in TABS else PRODUCTS))


@action("/catalog/adopt", "catalog")
def adopt() -> Response:
    """Add observed codes to the catalog: the selected code, or all of them if none is named."""
    kind = request.form.get("kind", "")
    wanted = [(kind, key_of(kind, request.form))] if kind in KINDS else None
    added = services().catalog_editor.adopt(caller(), wanted)
    return redirect_with(_describe_adopted(added), link_to("catalog", kind=MISSING))


def key_of(kind: str, values: Mapping[str, str]) -> Key:
    """Return the key of the entry that a URL or a form names."""
    code = values.get("code", "")
    return (values.get("product", ""), code) if kind == TYPES else (code,)


def link_to_entry(entry: CatalogEntry) -> str:
    return link_to("entry", word=entry.word, code=entry.code, product=entry.product if entry.kind == TYPES else None)


def _entries(kind: str) -> Values:
    who, listing = caller(), services().catalog_listing
    find, text = request.args.get("find", "").strip(), request.args.get("page", "")
    number = max(1, min(int(text), MAX_PAGE)) if text.isascii() and text.isdigit() and len(text) < 10 else 1
    begin = (number - 1) * PAGE_SIZE
    is_missing = kind == MISSING
    found = (
        listing.missing_page(who, find, begin, PAGE_SIZE)
        if is_missing
        else listing.page(who, kind, find, begin, PAGE_SIZE)
    )
    return {
        "kind": kind,
        "tabs": TABS,
        "missing": found.number if is_missing else listing.number_missing(who),
        "at_once": ADOPTED_AT_ONCE,
        "find": find,
        "number": found.number,
        "fitting": found.fitting,
        "entries": found.entries,
        "page": number,
        "more": found.fitting > number * PAGE_SIZE,
        "strict": services().catalog.strict,
        "may_change": services().catalog_editor.may_change(who),
    }


def _describe_adopted(added: list[CatalogEntry]) -> str:
    if not added:
        return "Already in the catalog."
    if len(added) > 1:
        return f"{len(added):,} codes are added to the catalog."
    (entry,) = added
    sentence = f"The {entry.title} is added to the catalog."
    then = {PRODUCTS: "Name its columns", TYPES: "Name its context values"}.get(entry.kind)
    if then is None:
        return sentence
    return Markup('<span>{} <a href="{}">{}</a>.</span>').format(sentence, link_to_entry(entry), then)
