"""The catalog: a code from events is added with one click and described, and then appears beside events and reports."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PageOpener, Service, submit
from tests.support.client import event

pytestmark = pytest.mark.browser


def test_a_code_from_events_gets_named_context_items_and_columns(service: Service, opener: PageOpener, tmp_path: Path):
    product = f"P-{uuid.uuid4()}"
    service.post(event(product=product, type="SEEN", timestamp=time.time_ns() // 1_000_000, context=["user-9"]))
    service.await_counts()
    page = opener.open(service, at="/admin/catalog/missing")
    for what in (f"Add the product {product}", f"Add the type SEEN of {product}"):
        submit(page, what)
        expect(page.get_by_role("button", name=what)).to_have_count(0)

    page.goto(f"/admin/catalog/type?code=SEEN&product={product}")
    expect(page.get_by_text("1 event in the last 24 hours")).to_be_visible()
    page.get_by_label("Description").fill("Somebody was seen")
    page.locator("textarea").last.fill("userId")
    submit(page, "Save")
    page.goto(f"/admin/events?product={product}")
    page.locator(".events .name a").click()
    expect(page.get_by_text("Somebody was seen")).to_be_visible()
    expect(page.locator("dt", has_text="userId")).to_be_visible()

    page.goto("/admin/catalog")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export").click()
    download.value.save_as(tmp_path / "catalog.json")
    document = json.loads((tmp_path / "catalog.json").read_text())
    (one,) = [one for one in document["products"] if one["code"] == product]
    one["columns"] = ["userId"]
    page.get_by_role("link", name="Import").click()
    page.get_by_label("File").set_input_files(
        {"name": "catalog.json", "mimeType": "application/json", "buffer": json.dumps(document).encode()}
    )
    submit(page, "Preview changes")
    expect(page.get_by_text("Changed: 1")).to_be_visible()
    submit(page, "Import")
    expect(page.get_by_text("0 entries are added, 1 entry is changed")).to_be_visible()
    page.goto(f"/admin/catalog/product?code={product}")
    expect(page.get_by_label("Columns")).to_have_value("userId")
