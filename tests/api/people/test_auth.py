"""Who may call what: the 401 that clients in the field know, roles, customers, and passwords that change."""

from __future__ import annotations

import base64

import pytest

from app.version import VERSION
from tests.conftest import PASSWORD
from tests.support.client import Client, event

PROTECTED = [
    ("POST", "/reports"),
    ("GET", "/reports"),
    ("GET", "/reports/JOB-1"),
    ("GET", "/reports/JOB-1/availability"),
    ("GET", "/reports/JOB-1/progress"),
    ("GET", "/service/authenticate"),
]
OPEN = [("GET", "/system/version"), ("GET", "/service/version"), ("GET", "/health/live"), ("GET", "/openapi.json")]


def basic(user: str | bytes, password: str | bytes = b"") -> str:
    """An Authorization header."""
    parts = [part.encode() if isinstance(part, str) else part for part in (user, password)]
    return f"Basic {base64.b64encode(b':'.join(parts)).decode()}"


def ask(nobody: Client, authorization: str):
    return nobody.get("/service/authenticate", headers={"Authorization": authorization})


class TestUnauthorized:
    @pytest.mark.parametrize(("method", "path"), PROTECTED)
    def test_without_credentials_it_is_so_to_the_letter(self, nobody, method, path):
        answer = nobody.request(method, path)
        assert answer.status_code == 401
        assert answer.get_data() == b'{"message": "Unauthorized"}'
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["WWW-Authenticate"] == "Basic"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["X-Request-ID"]

    def test_and_with_any_that_are_not_right(self, nobody, admin):
        for authorization in (
            basic("admin", "wrong"),
            basic("admin", ""),
            basic("", PASSWORD),
            basic("", ""),
            basic("ADMIN", PASSWORD),
            basic("nobody", PASSWORD),
            basic("admin", f"{PASSWORD} "),
            basic("admin", f"{PASSWORD}\0"),
            basic("admin\0", PASSWORD),
            basic("\0", "\0"),
            basic("ad\nmin", PASSWORD),
            basic("x" * 5_000, PASSWORD),
            basic("admin", "x" * 5_000),
            basic(b"admin", b"\xff\xfe"),
            basic(b"\xe4dmin", PASSWORD),
            "Basic " + base64.b64encode(b"admin").decode(),
            "Basic " + base64.b64encode(PASSWORD.encode()).decode(),
            "Basic %%%",
            "Basic YWRtaW4",
            "Basic é",
            "Basic ",
            "Basic",
            "",
            ":",
            basic("admin", PASSWORD).removeprefix("Basic "),
            basic("admin", PASSWORD).replace("Basic", "Bearer"),
            basic("admin", PASSWORD).replace("Basic", "Digest"),
            basic("admin", PASSWORD).replace("Basic", "Basics"),
            basic("admin", PASSWORD).replace("Basic ", "Basic:"),
            f"Basic admin:{PASSWORD}",
            f'Digest username="admin", password="{PASSWORD}"',
        ):
            answer = ask(nobody, authorization)
            assert (answer.status_code, answer.get_data()) == (401, b'{"message": "Unauthorized"}'), authorization

    @pytest.mark.parametrize(("method", "path"), OPEN)
    def test_what_is_open_needs_none_and_minds_no_wrong_ones(self, nobody, method, path):
        for headers in ({}, {"Authorization": basic("admin", "wrong")}, {"Authorization": "nonsense"}):
            assert nobody.request(method, path, headers=headers).status_code == 200


class TestCredentials:
    def test_the_scheme_s_name_has_no_case(self, nobody, admin):
        for scheme in ("basic", "BASIC", "bAsIc"):
            assert ask(nobody, basic("admin", PASSWORD).replace("Basic", scheme)).status_code == 200

    @pytest.mark.parametrize(
        ("name", "password"),
        [("käthe", "pässwörd€"), ("名前", "пароль-密码"), ("x", "with:colons::in:it"), ("y", "12345678:")],
    )
    def test_user_and_password_are_utf_8_and_split_at_the_first_colon(self, nobody, services, name, password):
        services.accounts.add(name, "admin", None, password)
        assert ask(nobody, basic(name, password)).get_json()["user"]["id"] == name
        assert ask(nobody, basic(name, password[:-1])).status_code == 401

    def test_a_name_and_password_are_not_joined_in_another_place(self, nobody, services):
        services.accounts.add("ab", "admin", None, "c:defghijk")
        assert ask(nobody, basic("ab", "c:defghijk")).status_code == 200
        assert ask(nobody, basic("abc", ":defghijk")).status_code == 401


class TestWhoIsWho:
    SERVICE = (
        '"service":{"name":"Tally","description":"Records usage events and hands the raw events back.",'
        f'"version":"{VERSION}","environment":"production"}}'
    )

    def test_an_admin(self, admin):
        assert admin.get("/service/authenticate").get_data(as_text=True) == (
            f'{{{self.SERVICE},"user":{{"id":"admin","context":"*",'
            '"permissions":"events,reports,catalog,system,users,keys","role":"admin","customers":null}}'
        )

    def test_an_operator_may_all_but_users_and_keys(self, operator):
        user = operator.get("/service/authenticate").get_json()["user"]
        assert (user["role"], user["permissions"]) == ("operator", "events,reports,catalog,system")

    @pytest.mark.parametrize(("customers", "context"), [(["BARCHART", "FERNHILL"], "BARCHART,FERNHILL"), (None, "")])
    def test_context_and_permissions_are_strings_and_role_and_customers_come_after_them(
        self, app, services, customers, context
    ):
        services.accounts.add("anna", "analyst", customers, PASSWORD)
        user = Client(app, ("anna", PASSWORD)).get("/service/authenticate").get_json()["user"]
        assert list(user.items()) == [
            ("id", "anna"),
            ("context", context),
            ("permissions", "events,reports"),
            ("role", "analyst"),
            ("customers", customers or []),
        ]

    def test_the_version_is_told_under_both_names(self, nobody):
        for path in ["/system/version", "/service/version"]:
            expected = f'{{"version":"{VERSION}",{self.SERVICE}}}'
            assert nobody.get(path).get_data(as_text=True) == expected

    @pytest.mark.settings(environment="staging")
    def test_the_environment_is_the_operator_s_word(self, nobody):
        assert nobody.get("/service/version").get_json()["service"]["environment"] == "staging"


class TestCustomers:
    @pytest.fixture(autouse=True)
    def seen(self, nobody) -> None:
        nobody.send(event(), event(customer="HARBORLINE"))

    def start(self, client: Client, customer: str) -> int:
        return client.post("/reports", {"filter": {"customer": customer, "product": "PORTFOLIO"}}).status_code

    def test_an_analyst_sees_those_given_and_no_others(self, analyst):
        assert (self.start(analyst, "BARCHART"), self.start(analyst, "HARBORLINE")) == (200, 403)

    def test_customers_are_compared_to_the_letter(self, analyst, nobody):
        nobody.send(event(customer="barchart"), event(customer="BARCHART "))
        assert (self.start(analyst, "barchart"), self.start(analyst, "BARCHART ")) == (403, 403)
