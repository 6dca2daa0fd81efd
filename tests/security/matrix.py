"""The authorization matrix: the status that each kind of user gets, one line per route and method.

To add a route, add a line with the status for each of these users, in this order.

    nobody    no credentials and no session, but the token that forms need
    wrong     a wrong password
    empty     empty name and password, or NUL characters
    other     an analyst of the customer FERNHILL
    analyst   an analyst of the customer BARCHART, who owns everything here
    operator  an operator of all customers
    admin     an administrator of all customers
    expired   an administrator whose session has expired; on the API, a user with nothing but a session

HEAD is answered as GET is, OPTIONS as in `OPTIONS` below, and every other verb by 405, so these need no lines. SENT and
QUERIES contain what a route needs in addition to its path. `tests/security/world.py` replaces the `<variables>` of a
path. A request that removes something removes a thing created for this request.
"""

from __future__ import annotations

#                                                       nobody  wrong  empty  other analyst operator admin expired
MATRIX = """
GET    /                                                   302    302    302    302    302    302    302    302
GET    /static/<filename>                                  200    200    200    200    200    200    200    200
GET    /bootstrap/static/<filename>                        200    200    200    200    200    200    200    200
GET    /docs/                                              200    200    200    200    200    200    200    200
GET    /docs/<path>                                        200    200    200    200    200    200    200    200

GET    /health/live                                        200    200    200    200    200    200    200    200
GET    /health/ready                                       200    200    200    200    200    200    200    200
GET    /metrics                                            200    200    200    200    200    200    200    200
GET    /openapi.json                                       200    200    200    200    200    200    200    200
GET    /tally.js                                           200    200    200    200    200    200    200    200
GET    /service/version                                    200    200    200    200    200    200    200    200
GET    /system/version                                     200    200    200    200    200    200    200    200
GET    /service/authenticate                               401    401    401    200    200    200    200    401
POST   /events                                             200    200    200    200    200    200    200    200
GET    /events                                             401    401    401    200    200    200    200    401
GET    /events/changes                                     401    401    401    200    200    200    200    401
GET    /counts                                             401    401    401    200    200    200    200    401
POST   /reports                                            401    401    401    403    200    200    200    401
GET    /reports                                            401    401    401    200    200    200    200    401
GET    /reports/<source>                                   401    401    401    404    302    302    302    401
DELETE /reports/<source>                                   401    401    401    404    204    204    204    401
GET    /reports/<source>/availability                      401    401    401    404    200    200    200    401
GET    /reports/<source>/progress                          401    401    401    404    200    200    200    401
POST   /reports/<source>/retry                             401    401    401    404    409    409    409    401
GET    /files/<source>                                     403    403    403    403    403    403    403    403

GET    /admin/sign-in                                      200    200    200    302    302    302    302    200
POST   /admin/sign-in                                      401    401    401    401    401    401    401    401
GET    /admin/sign-in/code                                 302    302    302    302    302    302    302    302
POST   /admin/sign-in/code                                 302    302    302    302    302    302    302    302
POST   /admin/sign-out                                     302    302    302    302    302    302    302    302
GET    /admin/oidc/sign-in                                 404    404    404    404    404    404    404    404
GET    /admin/oidc/callback                                404    404    404    404    404    404    404    404
GET    /admin/oidc/frontchannel-logout                     404    404    404    404    404    404    404    404
POST   /admin/oidc/backchannel-logout                      404    404    404    404    404    404    404    404
GET    /admin/                                             302    302    302    200    200    200    200    302
GET    /admin/overview/part                                302    302    302    200    200    200    200    302
GET    /admin/overview/chart                               302    302    302    200    200    200    200    302

GET    /admin/events                                       302    302    302    200    200    200    200    302
GET    /admin/events/download                              302    302    302    200    200    200    200    302
GET    /admin/events/part                                  302    302    302    200    200    200    200    302
GET    /admin/events/<key>                                 302    302    302    404    200    200    200    302
GET    /admin/events/personal-data                         302    302    302    200    200    200    200    302
POST   /admin/events/personal-data                         302    302    302    200    200    200    200    302
POST   /admin/events/personal-data/download                302    302    302    200    200    200    200    302
POST   /admin/events/personal-data/confirm                 302    302    302    403    403    403    200    302
POST   /admin/events/personal-data/erase                   302    302    302    403    403    403    302    302
GET    /admin/events/personal-data/receipts/<key>          302    302    302    403    403    200    200    302
GET    /admin/events/personal-data/receipts/<key>/file     302    302    302    403    403    200    200    302

GET    /admin/codes                                        302    302    302    400    400    400    400    302
GET    /admin/explore                                      302    302    302    200    200    200    200    302
GET    /admin/kept-forms/<key>                             302    302    302    404    200    404    404    302
POST   /admin/kept-forms/<key>                             302    302    302    404    307    404    404    302
POST   /admin/kept-forms/<key>/discard                     302    302    302    404    302    404    404    302
GET    /admin/me                                           302    302    302    200    200    200    200    302
POST   /admin/me/mail                                      302    302    302    302    302    302    302    302
GET    /admin/me/password                                  302    302    302    200    200    200    200    302
POST   /admin/me/password                                  302    302    302    400    400    400    400    302
GET    /admin/me/sessions/end                              302    302    302    200    200    200    200    302
POST   /admin/me/sessions/end                              302    302    302    302    302    302    302    302
GET    /admin/me/sessions/<session>/end                    302    302    302    404    404    404    404    302
POST   /admin/me/sessions/<session>/end                    302    302    302    404    404    404    404    302
GET    /admin/me/second-factor                             302    302    302    200    200    200    200    302
POST   /admin/me/second-factor                             302    302    302    400    400    400    400    302
GET    /admin/me/second-factor/codes                       302    302    302    302    302    302    302    302
POST   /admin/me/second-factor/codes                       302    302    302    302    302    302    302    302
GET    /admin/me/second-factor/off                         302    302    302    302    302    302    302    302
POST   /admin/me/second-factor/off                         302    302    302    302    302    302    302    302
GET    /admin/me/views/new                                 302    302    302    200    200    200    200    302
POST   /admin/me/views/new                                 302    302    302    302    302    302    302    302
GET    /admin/me/views/<key>/remove                        302    302    302    404    200    404    404    302
POST   /admin/me/views/<key>/remove                        302    302    302    404    302    404    404    302
GET    /admin/me/tokens/new                                302    302    302    200    200    200    200    302
POST   /admin/me/tokens/new                                302    302    302    200    200    200    200    302

GET    /admin/reports                                      302    302    302    200    200    200    200    302
GET    /admin/reports/part                                 302    302    302    200    200    200    200    302
GET    /admin/reports/new                                  302    302    302    200    200    200    200    302
GET    /admin/reports/new/part                             302    302    302    200    200    200    200    302
POST   /admin/reports/new                                  302    302    302    403    302    302    302    302
GET    /admin/reports/<source>                             302    302    302    404    200    200    200    302
GET    /admin/reports/<source>/part                        302    302    302    404    200    200    200    302
POST   /admin/reports/<source>/name                        302    302    302    404    302    302    302    302
GET    /admin/reports/<source>/download                    302    302    302    404    302    302    302    302
GET    /admin/reports/<source>/link                        302    302    302    404    200    200    200    302
GET    /admin/reports/<source>/<act>                       302    302    302    404    200    200    200    302
POST   /admin/reports/<source>/<act>                       302    302    302    404    302    302    302    302

GET    /admin/reports/recurring                            302    302    302    200    200    200    200    302
GET    /admin/reports/recurring/part                       302    302    302    200    200    200    200    302
GET    /admin/reports/recurring/new                        302    302    302    200    200    200    200    302
POST   /admin/reports/recurring/new                        302    302    302    403    302    302    302    302
GET    /admin/reports/recurring/<key>                      302    302    302    404    200    200    200    302
GET    /admin/reports/recurring/<key>/part                 302    302    302    404    200    200    200    302
GET    /admin/reports/recurring/<key>/edit                 302    302    302    404    200    200    200    302
POST   /admin/reports/recurring/<key>/edit                 302    302    302    404    302    302    302    302
POST   /admin/reports/recurring/<key>/run                  302    302    302    404    302    302    302    302
POST   /admin/reports/recurring/<key>/pause                302    302    302    404    302    302    302    302
POST   /admin/reports/recurring/<key>/resume               302    302    302    404    302    302    302    302
GET    /admin/reports/recurring/<key>/remove               302    302    302    404    200    200    200    302
POST   /admin/reports/recurring/<key>/remove               302    302    302    404    302    302    302    302
GET    /admin/reports/recurring/<key>/webhooks/<number>    302    302    302    404    200    200    200    302
POST   /admin/reports/recurring/<key>/webhooks/<number>    302    302    302    404    302    302    302    302

GET    /admin/reports/webhooks                             302    302    302    200    200    200    200    302
GET    /admin/reports/webhooks/new                         302    302    302    200    200    200    200    302
POST   /admin/reports/webhooks/new                         302    302    302    400    400    400    400    302
GET    /admin/reports/webhooks/<key>                       302    302    302    404    200    200    200    302
GET    /admin/reports/webhooks/<key>/part                  302    302    302    404    200    200    200    302
GET    /admin/reports/webhooks/<key>/edit                  302    302    302    404    200    200    200    302
POST   /admin/reports/webhooks/<key>/edit                  302    302    302    404    400    400    400    302
POST   /admin/reports/webhooks/<key>/test                  302    302    302    404    302    302    302    302
POST   /admin/reports/webhooks/<key>/enable                302    302    302    404    302    302    302    302
POST   /admin/reports/webhooks/<key>/disable               302    302    302    404    302    302    302    302
GET    /admin/reports/webhooks/<key>/rotate                302    302    302    404    200    200    200    302
POST   /admin/reports/webhooks/<key>/rotate                302    302    302    404    200    200    200    302
GET    /admin/reports/webhooks/<key>/remove                302    302    302    404    200    200    200    302
POST   /admin/reports/webhooks/<key>/remove                302    302    302    404    302    302    302    302
GET    /admin/reports/webhooks/<key>/deliveries/<number>   302    302    302    404    200    200    200    302
POST   /admin/reports/webhooks/<key>/deliveries/<number>   302    302    302    404    302    302    302    302

GET    /admin/unsubscribe/<token>                          200    200    200    200    200    200    200    200
POST   /admin/unsubscribe/<token>                          200    200    200    200    200    200    200    200

GET    /admin/rejected                                     302    302    302    403    403    200    200    302
GET    /admin/rejected/by/reason                           302    302    302    403    403    200    200    302
GET    /admin/rejected/by/event                            302    302    302    403    403    200    200    302
GET    /admin/rejected/by/request                          302    302    302    403    403    200    200    302
GET    /admin/rejected/request/<uuid>                      302    302    302    403    403    200    200    302
GET    /admin/rejected/request/<uuid>/send                 302    302    302    403    403    200    200    302
POST   /admin/rejected/request/<uuid>/send                 302    302    302    403    403    302    302    302
GET    /admin/rejected/request/<uuid>/remove               302    302    302    403    403    200    200    302
POST   /admin/rejected/request/<uuid>/remove               302    302    302    403    403    302    302    302
GET    /admin/rejected/group                               302    302    302    403    403    200    200    302
GET    /admin/rejected/group/send                          302    302    302    403    403    200    200    302
POST   /admin/rejected/group/send                          302    302    302    403    403    302    302    302
GET    /admin/rejected/group/remove                        302    302    302    403    403    200    200    302
POST   /admin/rejected/group/remove                        302    302    302    403    403    302    302    302
GET    /admin/rejected/<key>                               302    302    302    403    403    200    200    302
POST   /admin/rejected/<key>                               302    302    302    403    403    302    302    302
GET    /admin/rejected/<key>/remove                        302    302    302    403    403    200    200    302
POST   /admin/rejected/<key>/remove                        302    302    302    403    403    302    302    302

GET    /admin/catalog                                      302    302    302    200    200    200    200    302
GET    /admin/catalog/types                                302    302    302    200    200    200    200    302
GET    /admin/catalog/customers                            302    302    302    200    200    200    200    302
GET    /admin/catalog/missing                              302    302    302    200    200    200    200    302
GET    /admin/catalog/part                                 302    302    302    200    200    200    200    302
GET    /admin/catalog/export                               302    302    302    200    200    200    200    302
POST   /admin/catalog/adopt                                302    302    302    403    403    302    302    302
GET    /admin/catalog/import                               302    302    302    403    403    200    200    302
POST   /admin/catalog/import                               302    302    302    403    403    400    400    302
GET    /admin/catalog/<word>                               302    302    302    404    200    200    200    302
POST   /admin/catalog/<word>                               302    302    302    403    403    302    302    302
GET    /admin/catalog/<word>/new                           302    302    302    403    403    200    200    302
POST   /admin/catalog/<word>/new                           302    302    302    403    403    302    302    302
GET    /admin/catalog/<word>/remove                        302    302    302    403    403    200    200    302
POST   /admin/catalog/<word>/remove                        302    302    302    403    403    302    302    302

GET    /admin/people                                       302    302    302    403    403    403    200    302
GET    /admin/people/part                                  302    302    302    403    403    403    200    302
GET    /admin/people/new                                   302    302    302    403    403    403    200    302
POST   /admin/people/new                                   302    302    302    403    403    403    200    302
GET    /admin/people/<key>                                 302    302    302    403    403    403    200    302
POST   /admin/people/<key>                                 302    302    302    403    403    403    302    302
GET    /admin/people/<key>/password                        302    302    302    403    403    403    200    302
POST   /admin/people/<key>/password                        302    302    302    403    403    403    200    302
GET    /admin/people/<key>/deactivate                      302    302    302    403    403    403    200    302
POST   /admin/people/<key>/deactivate                      302    302    302    403    403    403    302    302
POST   /admin/people/<key>/activate                        302    302    302    403    403    403    302    302
GET    /admin/people/<key>/second-factor                   302    302    302    403    403    403    200    302
POST   /admin/people/<key>/second-factor                   302    302    302    403    403    403    302    302
GET    /admin/people/<key>/remove                          302    302    302    403    403    403    200    302
POST   /admin/people/<key>/remove                          302    302    302    403    403    403    302    302
GET    /admin/people/<key>/sessions/end                    302    302    302    403    403    403    200    302
POST   /admin/people/<key>/sessions/end                    302    302    302    403    403    403    302    302
GET    /admin/people/<key>/sessions/<session>/end          302    302    302    403    403    403    200    302
POST   /admin/people/<key>/sessions/<session>/end          302    302    302    403    403    403    302    302
GET    /admin/tokens                                       302    302    302    403    403    403    200    302
GET    /admin/tokens/<key>/revoke                          302    302    302    404    200    404    200    302
POST   /admin/tokens/<key>/revoke                          302    302    302    404    302    404    302    302
GET    /admin/alerts                                       302    302    302    200    200    200    200    302
GET    /admin/alerts/part                                  302    302    302    200    200    200    200    302
GET    /admin/alerts/history                               302    302    302    200    200    200    200    302
GET    /admin/alerts/<key>                                 302    302    302    404    200    200    200    302
GET    /admin/alerts/<key>/part                            302    302    302    404    200    200    200    302
GET    /admin/alerts/rules                                 302    302    302    200    200    200    200    302
GET    /admin/alerts/rules/new                             302    302    302    403    403    200    200    302
POST   /admin/alerts/rules/new                             302    302    302    403    403    302    302    302
GET    /admin/alerts/rules/<key>                           302    302    302    403    403    200    200    302
POST   /admin/alerts/rules/<key>                           302    302    302    403    403    302    302    302
GET    /admin/alerts/rules/<key>/remove                    302    302    302    403    403    200    200    302
POST   /admin/alerts/rules/<key>/remove                    302    302    302    403    403    302    302    302
GET    /admin/alerts/silences                              302    302    302    200    200    200    200    302
GET    /admin/alerts/silences/new                          302    302    302    403    403    200    200    302
POST   /admin/alerts/silences/new                          302    302    302    403    403    302    302    302
POST   /admin/alerts/silences/<key>/end                    302    302    302    403    403    302    302    302
GET    /admin/alerts/channels                              302    302    302    403    403    200    200    302
GET    /admin/alerts/channels/part                         302    302    302    403    403    200    200    302
GET    /admin/alerts/channels/new                          302    302    302    403    403    200    200    302
POST   /admin/alerts/channels/new                          302    302    302    403    403    400    400    302
GET    /admin/alerts/channels/<key>                        302    302    302    403    403    200    200    302
GET    /admin/alerts/channels/<key>/part                   302    302    302    403    403    200    200    302
GET    /admin/alerts/channels/<key>/edit                   302    302    302    403    403    200    200    302
POST   /admin/alerts/channels/<key>/edit                   302    302    302    403    403    400    400    302
POST   /admin/alerts/channels/<key>/test                   302    302    302    403    403    302    302    302
GET    /admin/alerts/channels/<key>/remove                 302    302    302    403    403    200    200    302
POST   /admin/alerts/channels/<key>/remove                 302    302    302    403    403    302    302    302
GET    /admin/keys                                         302    302    302    403    403    403    200    302
GET    /admin/keys/new                                     302    302    302    403    403    403    200    302
POST   /admin/keys/new                                     302    302    302    403    403    403    200    302
GET    /admin/keys/<key>/revoke                            302    302    302    403    403    403    200    302
POST   /admin/keys/<key>/revoke                            302    302    302    403    403    403    302    302
GET    /admin/audit                                        302    302    302    403    403    200    200    302
GET    /admin/audit/part                                   302    302    302    403    403    200    200    302
GET    /admin/audit.csv                                    302    302    302    403    403    200    200    302
GET    /admin/system                                       302    302    302    403    403    200    200    302
GET    /admin/system/part                                  302    302    302    403    403    200    200    302
POST   /admin/system/mail                                  302    302    302    403    403    302    302    302
GET    /admin/system/settings                              302    302    302    403    403    200    200    302
GET    /admin/system/versions                              302    302    302    403    403    200    200    302
"""

# The status of a request with an API token of the admin, by its scope. The last two have all scopes, but are expired
# and revoked. Routes without a line respond as to nobody.
#                                       events:read reports:read reports:write admin:system expired revoked
TOKENS = """
GET    /service/authenticate                    200          200           200          200     401     401
GET    /events                                  200          403           403          403     401     401
GET    /events/changes                          200          403           403          403     401     401
GET    /counts                                  200          403           403          403     401     401
POST   /reports                                 403          403           200          403     401     401
GET    /reports                                 403          200           200          403     401     401
GET    /reports/<source>                        403          302           302          403     401     401
DELETE /reports/<source>                        403          403           204          403     401     401
GET    /reports/<source>/availability           403          200           200          403     401     401
GET    /reports/<source>/progress               403          200           200          403     401     401
POST   /reports/<source>/retry                  403          403           409          403     401     401
"""
SCOPES = ("events:read", "reports:read", "reports:write", "admin:system")

# An administrator who signed in at the identity provider gets what `admin` gets on the pages, and what `nobody` gets on
# the API without a token, except for these. One who is deactivated gets what `expired` gets.
OF_PROVIDER = {
    "POST /admin/me/mail": 403,
    "GET /admin/me/password": 302,
    "GET /admin/me/second-factor": 302,
}  # has no password to protect

WHO = ("nobody", "wrong", "empty", "other", "analyst", "operator", "admin", "expired")
OPTIONS = {"api": 204, "people": 200}  # the same for all users, because a preflight carries no credentials
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

REPORT = {"filter": {"customer": "BARCHART", "product": "PORTFOLIO"}}
RECURRING = REPORT["filter"] | {"name": "Recurring {}", "recurrence": "daily", "hour": "6", "mode": "period"}
RULE = {"name": "Rule {}", "kind": "stopped", "per": "product", "minutes": "15", "active": "y"}
CHANNEL = {"name": "Channel {}", "kind": "mail", "addresses": "ops@mail.example", "active": "y"}
ENTRY = "/admin/catalog/<word>"
ALIKE = "/admin/rejected/group"
# What is sent to a route: form fields on the dashboard, with a new number for {}; JSON on the API.
SENT: dict[str, object] = {
    "POST /events": [],
    "POST /reports": REPORT,
    "POST /admin/reports/new": REPORT["filter"],
    "POST /admin/reports/recurring/new": RECURRING,
    "POST /admin/reports/recurring/<key>/edit": RECURRING,
    "POST /admin/alerts/rules/new": RULE,
    "POST /admin/alerts/rules/<key>": RULE,
    "POST /admin/alerts/silences/new": {"hours": "4", "reason": "planned work"},
    "POST /admin/alerts/channels/new": CHANNEL,
    "POST /admin/alerts/channels/<key>/edit": CHANNEL,
    "POST /admin/events/personal-data": {"value": "nobody's"},
    "POST /admin/events/personal-data/download": {"value": "nobody's"},
    "POST /admin/events/personal-data/confirm": {"value": "nobody's"},
    "POST /admin/events/personal-data/erase": {"value": "nobody's"},
    "POST /admin/sign-in": {"user": "nobody", "password": "wrong"},
    "POST /admin/me/password": {"old": "wrong", "new": "another password"},
    "POST /admin/me/second-factor": {"password": "wrong", "code": "000000"},
    "POST /admin/rejected/<key>": {
        "event": '{"customer": "BARCHART", "product": "P", "type": "T", "timestamp": 1, "context": []}'
    },
    f"POST {ALIKE}/send": {"up_to": "999999"},
    f"POST {ALIKE}/remove": {"up_to": "999999"},
    f"POST {ENTRY}": {"code": "PORTFOLIO", "description": "changed"},
    f"POST {ENTRY}/new": {"code": "ANOTHER-{}"},
    "POST /admin/people/new": {"name": "somebody-new", "role": "analyst"},
    "POST /admin/people/<key>": {"role": "operator"},
    "POST /admin/keys/new": {"name": "another"},
    "POST /admin/me/views/new": {"name": "view {}"},
    "POST /admin/me/tokens/new": {"name": "program {}", "scopes": "events:read", "days": "90"},
}
# query strings, for any verb
QUERIES = {
    "/admin/me/views/new": "page=events&query=customer%3DBARCHART",
    ALIKE: "field=type",
    f"{ALIKE}/send": "field=type",
    f"{ALIKE}/remove": "field=type",
    ENTRY: "code=PORTFOLIO",
    f"{ENTRY}/remove": "code=PORTFOLIO",
}


def rows() -> dict[str, dict[str, int]]:
    """Return the statuses for each `VERB /path` of the matrix."""
    return _read(MATRIX, WHO)


def token_rows() -> dict[str, dict[str, int]]:
    """Return the statuses of requests with API tokens, for each `VERB /path` that has a line in TOKENS."""
    return _read(TOKENS, (*SCOPES, "expired", "revoked"))


def _read(table: str, who: tuple[str, ...]) -> dict[str, dict[str, int]]:
    found = {}
    for line in filter(None, table.strip().splitlines()):
        verb, path, *statuses = line.split()
        assert len(statuses) == len(who), f"{verb} {path} has {len(statuses)} statuses; it must have {len(who)}"
        assert f"{verb} {path}" not in found, f"{verb} {path} has two lines"
        found[f"{verb} {path}"] = dict(zip(who, map(int, statuses), strict=True))
    return found
