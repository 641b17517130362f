#!/usr/bin/env python3
"""A client that knows PROTOCOL.md alone. It walks the rules about tokens against `countersign serve --tokens --session-keys`.

    tokens_client.py http://127.0.0.1:8080 field|bearer|cookie

The server knows the apps `demo` and `other`, both with the key of PROTOCOL.md. The cookie is `__Host-cs1`. The program exits
with 1 at the first difference.
"""
import hashlib
import hmac
import http.client
import json
import secrets
import sys
import time

KEY = "0123456789abcdef0123456789abcdef"
COOKIE = "__Host-cs1"
BASE, PLACE = sys.argv[1], sys.argv[2]


class Answer:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.body = response.read()
        self.json = json.loads(self.body) if self.body else {}
        self.code = self.headers.get("x-error-code")
        self.challenges = self.headers.get_all("www-authenticate") or []


def mac(key, text):
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def cookie_line(token):
    return "cookie:" + hashlib.sha256(f"CS1-COOKIE\n{token}".encode()).hexdigest()


def session_key(token, app="demo", audience=""):
    return mac(KEY, f"CS1-SESSION\n{audience}\n{app}\n{token}")


def signed(method, path, body=None, token=None, key=None, app="demo", nonce=None):
    """The headers of a request. With `key`, it is the key of a session; otherwise the app's key signs."""
    body = b"" if body is None else body
    headers = {
        "x-app-id": app,
        "x-timestamp": str(int(time.time())),
        "x-nonce": nonce or secrets.token_hex(16),
        "x-content-sha256": hashlib.sha256(body).hexdigest(),
    }
    content_type, token_line = "", token or ""
    if body:
        content_type = headers["content-type"] = "application/json"
    if token and PLACE == "cookie":
        headers["cookie"], token_line = f"{COOKIE}={token}", cookie_line(token)
    elif token and PLACE == "bearer":
        headers["authorization"] = f"Bearer {token}"
    elif token:
        headers["x-token"] = token
    lines = ["CS1-REQUEST", method, "", path, "", "", content_type, headers["x-content-sha256"]]
    lines += [app, token_line, "session" if key else KEY, headers["x-timestamp"], headers["x-nonce"]]
    headers["x-sign"] = mac(key or KEY, "\n".join(lines))
    return headers


def send(method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(BASE.removeprefix("http://"), timeout=10)
    connection.request(method, path, body=body, headers=headers or {})
    return Answer(connection.getresponse())


def call(method, path, value=None, **how):
    body = None if value is None else json.dumps(value).encode()
    return send(method, path, body, signed(method, path, body, **how))


def expect(answer, status, code=None, what=""):
    if (answer.status, answer.code) != (status, code):
        sys.exit(f"{what}: expected {status} {code}, got {answer.status} {answer.code}: {answer.body}")
    return answer


def same(one, other, what):
    if one != other:
        sys.exit(f"{what}: {one!r} is not {other!r}")


def issue(**wanted):
    """Returns the token and the answer. A page could not read the token of a cookie; this client can."""
    answer = expect(call("POST", "/_tokens", wanted), 201, None, "issue")
    same(answer.headers["cache-control"], "no-store", "issue")
    token = answer.json.get("token")
    if PLACE == "cookie" and not wanted.get("bearer"):
        same(token, None, "a page gets no token")
        cookie, *attributes = answer.headers["set-cookie"].split("; ")
        token = cookie.removeprefix(COOKIE + "=")
        same({"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} - set(attributes), set(), "cookie")
        same(answer.json["cookie_digest"], cookie_line(token), "line of the cookie")
    return token, answer.json


def refuse_token(answer, what, reason=None):
    expect(answer, 401, "invalid_token", what)
    same(answer.json.get("reason"), reason, what)
    bearer = ['Bearer error="invalid_token"'] if PLACE == "bearer" else []
    same(answer.challenges, ['CS1-HMAC-SHA256 error="invalid_token"'] + bearer, what)


def uses():
    token, about = issue(user="u-1", device="web")
    echo = expect(call("GET", "/me", token=token), 200, None, "by the app's key").json
    same(echo["session"], {"id": about["session_id"], "user": "u-1", "device": "web"}, "session")
    same((echo["signed_by"], "token" in echo), ("app_key", False), "echo")
    same(about["session_key"], session_key(token), "session key")
    echo = expect(call("GET", "/me", token=token, key=about["session_key"]), 200, None, "by the session's key").json
    same(echo["signed_by"], "session_key", "echo")
    other, _ = issue(user="u-1")
    expect(call("GET", "/me", token=other, key=session_key(token)), 401, "invalid_signature", "key of another token")
    expect(call("POST", "/_tokens", {}, token=token, key=session_key(token)), 403, "key_not_allowed", "issue")
    refuse_token(call("GET", "/me", token=token, app="other"), "token of another app")
    refuse_token(call("GET", "/me", token="no-token-of-this-form"), "malformed token")
    without = expect(call("GET", "/_sessions"), 401, "missing_token", "no token")
    same(without.challenges, ['CS1-HMAC-SHA256 error="missing_token"'] + ["Bearer"] * (PLACE == "bearer"), "no token")
    api, about = issue()
    same("session_key" in about, False, "an API token has no session key")
    expect(call("GET", "/_sessions", token=api), 403, "token_not_allowed", "API token")


def renewal():
    token, first = issue(user="u-2")
    key = session_key(token)
    one = expect(call("POST", "/_tokens/renew", token=token, key=key), 200, None, "renew").json
    two = expect(call("POST", "/_tokens/renew", token=token, key=key), 200, None, "the answer was lost").json
    name = "cookie_digest" if PLACE == "cookie" else "token"
    same((one[name], one["session_key"]), (two[name], two["session_key"]), "one successor")
    same(one["session_id"], first["session_id"], "the session stays")
    expect(call("GET", "/me", token=token, key=key), 200, None, "the old pair, before the first use of the new one")
    successor = one.get("token")
    if PLACE == "cookie":
        answer = expect(call("POST", "/_tokens/renew/cookie", token=token, key=key), 200, None, "the cookie")
        successor = answer.headers["set-cookie"].split("; ")[0].removeprefix(COOKIE + "=")
        same(cookie_line(successor), one["cookie_digest"], "the cookie is the successor's")
    same(session_key(successor), one["session_key"], "the successor's key")
    expect(call("GET", "/me", token=successor, key=one["session_key"]), 200, None, "the new pair")
    expect(call("GET", "/me", token=token, key=key), 200, None, "the old pair, in the overlap")
    expect(call("GET", "/me", token=successor, key=key), 401, "invalid_signature", "the old key with the new token")


def ends():
    token, about = issue(user="u-3")
    other, _ = issue(user="u-3")
    rows = expect(call("GET", "/_sessions", token=token), 200, None, "list").json["sessions"]
    same([row["current"] for row in rows if row["id"] == about["session_id"]], [True], "list")
    same(any(text in json.dumps(rows) for text in (token, other)), False, "no token in a list")
    expect(call("DELETE", "/_sessions", token=token), 204, None, "end the others")
    refuse_token(call("GET", "/me", token=other), "ended", "revoked")
    expect(call("DELETE", "/_tokens", token=token), 204, None, "log out")
    refuse_token(call("GET", "/me", token=token), "logged out", "revoked")
    refuse_token(call("GET", "/me", token=token, key=session_key(token)), "its session key", "revoked")
    token, _ = issue(user="u-3")
    same(call("DELETE", "/_users/u-3/sessions").json, {"ended": 1}, "end all")
    refuse_token(call("GET", "/me", token=token), "ended", "revoked")


def order_of_checks():
    token, _ = issue(user="u-4", one_time=True)
    used = signed("GET", "/a")
    expect(send("GET", "/a", headers=used), 200, None, "a nonce")
    headers = signed("GET", "/me", token=token, nonce=used["x-nonce"])
    expect(send("GET", "/me", headers=headers), 401, "replayed_nonce", "a used nonce")
    headers = signed("POST", "/me", b"{}", token=token)
    expect(send("POST", "/me", b"[]", headers), 401, "body_mismatch", "another body")
    expect(call("GET", "/me", token=token), 200, None, "neither spent the token")
    refuse_token(call("GET", "/me", token=token), "accepted once")


def bearer():
    token, about = issue(user="u-5", bearer=True)
    headers = {"authorization": f"Bearer {token}"}
    same(expect(send("GET", "/_bearer", headers=headers), 200).json["session"]["id"], about["session_id"], "bearer")
    expect(call("GET", "/me", token=token), 403, "token_not_allowed", "a bearer token, signed")
    same(expect(send("GET", "/_bearer"), 401, "missing_token").challenges, ["Bearer"], "no bearer token")
    token, _ = issue(user="u-5")
    expect(send("GET", "/_bearer", headers={"authorization": f"Bearer {token}"}), 403, "token_not_allowed", "unsigned")


if __name__ == "__main__":
    for rule in (uses, renewal, ends, order_of_checks, bearer):
        rule()
        print(f"{rule.__name__}: as PROTOCOL.md says")
