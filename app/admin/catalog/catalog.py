"""Catalog pages: products, types and customers, and observed codes that are not in the catalog."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from app.admin.blueprint import blueprint, services
from app.auth import caller, need, signed_in
from app.services.catalog.editor import ADOPTED_AT_ONCE
from app.services.catalog.listing import CUSTOMERS, KINDS, PRODUCTS, TYPES, CatalogEntry, Key

PAGE = 100
MAX_PAGE = 1_000_000
MISSING = "missing"  # a tab beside the three kinds: observed codes that are not in the catalog
TABS = {PRODUCTS: "Products", TYPES: "Types", CUSTOMERS: "Customers", MISSING: "Not in the catalog"}
PATHS = {PRODUCTS: "", TYPES: "/types", CUSTOMERS: "/customers", MISSING: "/missing"}


@signed_in
def catalog(kind: str) -> str:
    """Show the entries of a kind, ordered by code."""
    return render_template("admin/catalog/catalog.html", **_found(kind))


@blueprint.get("/catalog/part")
@signed_in
def catalog_part() -> str:
    """Return the part of the page that refreshes itself."""
    kind = request.args.get("kind", "")
    return render_template("admin/catalog/_catalog.html", **_found(kind if kind in TABS else PRODUCTS))


for _kind, _path in PATHS.items():
    blueprint.add_url_rule(f"/catalog{_path}", "catalog", catalog, defaults={"kind": _kind}, methods=["GET"])


@blueprint.post("/catalog/adopt")
@signed_in
def adopt() -> Response:
    """Add observed codes to the catalog: the selected code, or all of them if none is named."""
    need("catalog")
    kind = request.form.get("kind")
    wanted = [(kind, named(kind, request.form))] if kind in KINDS else None
    found = services().catalog_editor.adopt(caller(), wanted)
    flash(_adopted(found))
    return redirect(url_for("admin.catalog", kind=MISSING))


def named(kind: str, values: dict[str, str]) -> Key:
    """Return the key of the entry that a URL or a form names."""
    code = values.get("code", "")
    return (values.get("product", ""), code) if kind == TYPES else (code,)


def _found(kind: str) -> dict[str, object]:
    who = caller()
    wanted, page = request.args.get("find", "").strip(), _page(request.args.get("page", ""))
    entries, begin = services().catalog_listing, (page - 1) * PAGE
    is_missing = kind == MISSING
    found = (
        entries.missing_page(who, wanted, begin, PAGE) if is_missing else entries.page(who, kind, wanted, begin, PAGE)
    )
    return {
        "kind": kind,
        "tabs": TABS,
        "missing": found.number if is_missing else entries.number_missing(who),
        "at_once": ADOPTED_AT_ONCE,
        "find": wanted,
        "number": found.number,
        "fitting": found.fitting,
        "entries": found.entries,
        "page": page,
        "more": found.fitting > page * PAGE,
        "strict": services().catalog.strict,
        "may_change": services().catalog_editor.may_change(who),
    }


def _page(text: str) -> int:
    return max(1, min(int(text), MAX_PAGE)) if text.isascii() and text.isdigit() and len(text) < 10 else 1


def _adopted(found: list[CatalogEntry]) -> str:
    if not found:
        return "Already in the catalog."
    if len(found) > 1:
        return f"{len(found):,} codes are added to the catalog."
    one = found[0]
    added = f"The {one.title} is added to the catalog."
    then = {PRODUCTS: "Name its columns", TYPES: "Name its context values"}.get(one.kind)
    if then is None:
        return added
    product = {"product": one.product} if one.kind == TYPES else {}
    address = url_for("admin.entry", word=one.word, code=one.code, **product)
    return Markup('<span>{} <a href="{}">{}</a>.</span>').format(added, address, then)
