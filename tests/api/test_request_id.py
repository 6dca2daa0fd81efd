"""`X-Request-ID` on every answer: the client's, if it sent a sane one."""

from __future__ import annotations

from tests.support.client import event

DATABASE = "sqlite"  # request ids do not depend on the database


def test_a_sane_one_comes_back(nobody):
    for sent in ["x", "a" * 128, "3fa85f64-5717-4562-b3fc-2c963f66afa6", "A.b:c_d-9", "0"]:
        for answer in (
            nobody.post("/events", [event()], headers={"X-Request-ID": sent}),
            nobody.get("/nothing", headers={"X-Request-ID": sent}),
        ):
            assert answer.headers["X-Request-ID"] == sent


def test_any_other_is_replaced_by_one_of_the_request_s_own(nobody):
    made = set()
    for sent in ["", "a" * 129, "a b", "<script>", 'a"b', "é", "a\tb", "a,b", "%0a", "a;b"]:
        answer = nobody.get("/system/version", headers={"X-Request-ID": sent})
        assert answer.headers["X-Request-ID"] != sent
        assert len(answer.headers["X-Request-ID"]) == 32
        made.add(answer.headers["X-Request-ID"])
    assert len(made) == 10


def test_every_kind_of_answer_has_one(nobody, services, monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(type(services.ingest), "accept", fail)
    for answer, status in (
        (nobody.post("/events", [event()]), 500),
        (nobody.post("/events", b"", "text/html"), 415),
        (nobody.get("/reports"), 401),
        (nobody.get("/nothing"), 404),
        (nobody.request("PUT", "/events"), 405),
        (nobody.request("OPTIONS", "/events"), 204),
        (nobody.get("/"), 302),
    ):
        assert answer.status_code == status
        assert len(answer.headers["X-Request-ID"]) == 32
        assert answer.headers.getlist("X-Request-ID") == [answer.headers["X-Request-ID"]]
