"""Filter on the pages of rejected events, read from the URL, and shown in a form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import request
from wtforms import Form, StringField

from app.admin.blueprint import services
from app.admin.datetime_field import DatetimeField, EndField
from app.admin.form_errors import attach_errors
from app.admin.pages import Values
from app.admin.template_filters import period
from app.admin.zones import zone_name
from app.auth import caller
from app.exceptions import InputInvalid
from app.services.events.rejected_query import MAX_TEXT, REASONS, describe_reason, rejected_filter
from app.services.rows import RejectedFilter

SUGGESTED = 100  # customers and products that the form suggests
TEXTS = ("customer", "product", "type", "reason", "origin", "text")
GROUP_FIELDS = ("product", "type", "reason")  # fields that the group itself determines
REASON_WORDS = {name: describe_reason(*reason) for name, reason in REASONS.items()}


class RejectedForm(Form):
    """Filter for rejected events, as a browser submits it."""

    customer = StringField("Customer")
    product = StringField("Product")
    type = StringField("Type")
    reason = StringField("Reason")
    start = DatetimeField("Received from")
    end = EndField("Received to")
    origin = StringField("Address or request id")
    text = StringField("Text")


@dataclass(frozen=True)
class RejectedQuery:
    """Query of a page of rejected events.

    Attributes:
        address: the query as URL arguments, without empty values and without a page.
        general: errors that belong to no field.
    """

    form: RejectedForm
    filter: RejectedFilter
    address: dict[str, str]
    general: list[str]

    @property
    def status(self) -> int:
        """Return the status of the page."""
        return 400 if self.general or any(field.errors for field in self.form) else 200

    @property
    def beside_group(self) -> dict[str, str]:
        """Return the URL arguments that the group itself does not determine."""
        return {name: value for name, value in self.address.items() if name not in GROUP_FIELDS}

    @property
    def words(self) -> list[str]:
        """Return the parts of the filter that limit a group, in words."""
        given = {name: value for name, value in self.beside_group.items() if name in TEXTS}
        found = [f"{self.form[name].label.text.lower()} {value}" for name, value in given.items()]
        if self.filter.start is None and self.filter.end is None:
            return found
        return [*found, f"time of arrival {period(self.filter.start, self.filter.end)}"]

    def values(self) -> Values:
        """Return the template values of the form. An invalid filter matches nothing."""
        customers, products = services().catalog.known(caller(), SUGGESTED)
        choices: Values = {"customers": customers, "products": products, "reasons": REASON_WORDS, "max_text": MAX_TEXT}
        return {"query": self, "form": self.form, "wrong": self.status != 200, **choices}


def read_query(*, of_group: bool = False) -> RejectedQuery:
    """Return the query of the URL.

    Args:
        of_group: whether product, type and reason are those of the group that the URL names.
    """
    form = RejectedForm(request.args)
    given = {name: (form[name].data or "").strip() for name in TEXTS if not (of_group and name in GROUP_FIELDS)}
    times: dict[str, int | None] = {}
    for field in (form.start, form.end):
        if isinstance(field.data, str):
            field.errors = [f"{field.label.text} is not a date and time in {zone_name()}, such as 2026-11-23T10:57."]
        times[field.name] = field.data if isinstance(field.data, int) else None
    values: dict[str, Any] = {**given, **times}
    address = {name: str(value) for name, value in values.items() if value not in ("", None)}
    try:
        return RejectedQuery(form, rejected_filter(**values), address, [])
    except InputInvalid as error:
        return RejectedQuery(form, RejectedFilter(), address, attach_errors(form, error.field_errors))
