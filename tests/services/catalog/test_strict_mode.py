"""Strict mode: the codes of an event must be in the current catalog, whichever process imported it."""

from __future__ import annotations

import json

import pytest

from app.services import build
from app.services.catalog import lookup as module
from app.services.catalog.lookup import Catalog
from app.services.people.accounts import SYSTEM, Principal
from tests.support.client import event, faults
from tests.support.outages import away

DOCUMENT = {
    "customers": [{"code": "BARCHART"}],
    "products": [{"code": "PORTFOLIO"}, {"code": "WATCHLIST"}],
    "types": [{"code": "PORTFOLIO-APPLICATION-LOADED", "product": "PORTFOLIO", "context": ["userId", "viewName"]}],
}
strict = pytest.mark.settings(catalog_mode="strict")


@pytest.fixture
def catalogued(services) -> None:
    services.catalog.put(json.dumps(DOCUMENT).encode())


def rejections(client, *events: dict) -> list[str]:
    answer = client.post("/events", {"events": list(events)})
    assert answer.status_code == 400
    assert {code for code, _ in faults(answer)} == {"REQUEST_PARAMETER_MALFORMED"}
    return [message for _, message in faults(answer)]


def test_open_mode_accepts_any_code(nobody, services):
    nobody.send(event(customer="NEW", product="NEW", type="NEW"))
    assert services.ingest.count() == 1


@strict
def test_an_unknown_code_is_rejected_with_its_index_and_the_nearest_known_codes(nobody, services, catalogued):
    """Customers are not suggested, because any client that can send events could enumerate them."""
    messages = rejections(nobody, event(), event(customer="BARCHARD", type="PORTFOLIO-APPLICATION-LOADET"))
    assert messages == [
        'events[1].customer is "BARCHARD", which is not known.',
        'events[1].type is "PORTFOLIO-APPLICATION-LOADET", which is not known; '
        "the nearest known: PORTFOLIO-APPLICATION-LOADED.",
    ]
    assert services.ingest.count() == 0


@strict
def test_a_code_must_match_exactly(nobody, catalogued):
    assert rejections(nobody, event(customer="barchart"))
    assert rejections(nobody, event(customer="BARCHART "))


@strict
@pytest.mark.parametrize("product", ["PORTFOLIO", "WATCHLIST"], ids=["its product", "another known product"])
def test_an_event_whose_codes_are_in_the_catalog_is_accepted(nobody, services, catalogued, product):
    nobody.send(event(product=product))
    assert services.ingest.count() == 1


@strict
@pytest.mark.parametrize("context", [[], ["user-1"], ["user-1", "Overview", "more", None]])
def test_a_context_may_have_another_length_than_in_the_catalog(nobody, catalogued, context):
    assert nobody.send(event(context=context))[0]["context"] == context


@strict
def test_an_empty_catalog_rejects_every_event(nobody):
    assert rejections(nobody, event())[1] == 'events[0].product is "PORTFOLIO", which is not known; none is known yet.'


@strict
def test_an_import_takes_effect_immediately_in_its_own_process(nobody, services):
    rejections(nobody, event())
    services.catalog.put(json.dumps(DOCUMENT).encode())
    nobody.send(event())


@strict
def test_an_import_of_another_process_takes_effect_within_seconds(nobody, settings, services, catalogued, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    rejections(nobody, event(customer="HARBORLINE"))
    build(settings).catalog.put(b'{"customers": [{"code": "HARBORLINE"}]}')
    clock[0] += module.KEPT_SECONDS
    assert module.KEPT_SECONDS <= 5
    nobody.send(event(customer="HARBORLINE"))


@strict
@pytest.mark.settings(catalog_mode="strict", max_batch_events=3000)
def test_a_batch_of_unknown_codes_compares_few_codes(nobody, services, monkeypatch):
    compared = []
    get_close_matches = module.difflib.get_close_matches

    def count_comparisons(word: str, words: object, *args: object, **kwargs: object) -> list[str]:
        compared.append(len(words))
        return get_close_matches(word, words, *args, **kwargs)

    monkeypatch.setattr(module.difflib, "get_close_matches", count_comparisons)
    known = [{"code": f"TYPE-{number}", "product": "PORTFOLIO"} for number in range(500)]
    services.catalog.put(json.dumps(DOCUMENT | {"types": known}).encode())
    messages = rejections(nobody, *[event(type=f"UNKNOWN-{number}") for number in range(3000)])
    assert "nearest known" in messages[0]
    assert messages[50] == 'events[50].type is "UNKNOWN-50", which is not known.'
    assert len(compared) <= module.HINTS
    assert max(compared) <= module.COMPARED


@strict
def test_a_repeated_unknown_code_gets_the_same_message(nobody, catalogued):
    messages = rejections(nobody, *[event(customer="BARCHARD")] * 60)
    assert len({message.partition(" is ")[2] for message in messages}) == 1


def test_the_nearest_codes_are_found_among_very_many(services):
    services.catalog.put(json.dumps({"products": [{"code": f"PRODUCT-{n:05}"} for n in range(3000)]}).encode())
    with pytest.raises(module.InputInvalid) as error:
        services.catalog.check_known(SYSTEM, "BARCHART", "PRODUCT-01234x")
    assert "PRODUCT-01234" in error.value.field_errors[1].message


def test_a_report_s_filter_suggests_only_customers_visible_to_the_user(services):
    services.catalog.put(json.dumps({"customers": [{"code": "BARCHART-2"}, {"code": "BARCHART-3"}]}).encode())
    principal = Principal(1, "anna", "analyst", ("BARCHART", "BARCHART-3"), "")
    with pytest.raises(module.InputInvalid) as error:
        services.catalog.check_known(principal, "BARCHART", "PORTFOLIO")
    assert error.value.field_errors[0].message.endswith("; the nearest known: BARCHART-3.")


def test_a_cached_catalog_is_used_while_the_database_is_unavailable(services, monkeypatch):
    catalog = Catalog(strict=True)
    catalog.put(json.dumps(DOCUMENT).encode())
    monkeypatch.setattr(module, "KEPT_SECONDS", -1)
    assert catalog.vocabulary().customer == {"BARCHART"}
    monkeypatch.setattr(module.store, "customers", away)
    assert catalog.vocabulary().customer == {"BARCHART"}
