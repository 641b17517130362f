#!/usr/bin/env python3
"""A client that knows PROTOCOL.md alone. It makes share links, and opens them against `countersign serve --links --tokens`.

    links_client.py http://127.0.0.1:8080 [once]

The server knows the app `demo` with the key of PROTOCOL.md, and the app `other` with the same key. It leaves `utm_source` out of
links. With `once`, its nonce store is shared, so that links for one use work. The program exits with 1 at the first difference.
"""
import hashlib
import hmac
import http.client
import json
import secrets
import sys
import time
from urllib.parse import quote_from_bytes, unquote_to_bytes

KEY = "0123456789abcdef0123456789abcdef"
BASE = sys.argv[1].removeprefix("http://")
ONCE = sys.argv[2:] == ["once"]
LEFT_OUT = {b"utm_source"}
FIELDS = {b"appId", b"timestamp", b"nonce", b"token", b"sign"}


class Answer:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.body = response.read()
        self.code = self.headers.get("x-error-code")
        is_json = "json" in self.headers.get("content-type", "") and self.body
        self.json = json.loads(self.body) if is_json else {}


def mac(text):
    return hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


def canonical(query):
    """The parameters as line 5 has them."""
    pairs = []
    for segment in query.split("&"):
        name, _, value = segment.partition("=")
        name, value = (unquote_to_bytes(text.replace("+", " ")) for text in (name, value))
        if name and value and name not in FIELDS | LEFT_OUT:
            pairs.append(tuple(quote_from_bytes(part, safe="-._~") for part in (name, value)))
    pairs.sort(key=lambda pair: pair[0])
    return "&".join(f"{name}={value}" for name, value in pairs)


def presign(target, lifetime, at=None, grant=None, once=False, app="demo"):
    """Makes a link of a path with its query."""
    path, _, query = target.partition("?")
    at, nonce = str(int(time.time()) if at is None else at), secrets.token_hex(16) if once else ""
    query += ("&" if query else "") + f"expires={lifetime}"
    if grant:
        query += f"&grant={grant}"
    lines = ["CS1-PRESIGNED", "GET", "", path, canonical(query), "", "", "", app, "", KEY, at, nonce]
    query += f"&appId={app}&timestamp={at}" + (f"&nonce={nonce}" if once else "")
    return f"{path}?{query}&sign=" + mac("\n".join(lines))


def send(method, target, body=None, headers=None):
    connection = http.client.HTTPConnection(BASE, timeout=10)
    connection.request(method, target, body=body, headers=headers or {})
    return Answer(connection.getresponse())


def call(method, path, value=None, token=None):
    """A signed request."""
    body = b"" if value is None else json.dumps(value).encode()
    digest = hashlib.sha256(body).hexdigest()
    headers = {"x-app-id": "demo", "x-timestamp": str(int(time.time())), "x-nonce": secrets.token_hex(16)}
    headers["x-content-sha256"] = digest
    content_type = ""
    if body:
        content_type = headers["content-type"] = "application/json"
    if token:
        headers["x-token"] = token
    lines = ["CS1-REQUEST", method, "", path, "", "", content_type, digest, "demo", token or "", KEY]
    headers["x-sign"] = mac("\n".join([*lines, headers["x-timestamp"], headers["x-nonce"]]))
    return send(method, path, body, headers)


def expect(answer, status, code=None, what=""):
    if (answer.status, answer.code) != (status, code):
        sys.exit(f"{what}: expected {status} {code}, got {answer.status} {answer.code}: {answer.body}")
    return answer


def same(one, other, what):
    if one != other:
        sys.exit(f"{what}: {one!r} is not {other!r}")


def opened(link, what, method="GET", headers=None):
    return expect(send(method, link, headers=headers), 200, None, what)


def refused(link, status, code, what, method="GET", headers=None):
    answer = expect(send(method, link, headers=headers), status, code, what)
    same(answer.headers["cache-control"], "no-store", what)
    return answer


def examples():
    link = presign("/orders/17?format=pdf", 3600, at=1700000000)
    same(link.rpartition("&sign=")[2], "5cd08652a05a4482911c96f5bc81d49e90bf264d51377c1e1fc709e7fb570811", "the example")
    print("the example of PROTOCOL.md has its sign")


def opening():
    link = presign("/orders/17?format=pdf&a=1&a=2&name=%C3%BC+x", 3600)
    answer = opened(link, "a link")
    same((answer.json["path"], answer.json["app_id"]), ("/orders/17", "demo"), "the service's request")
    same(answer.json["query"], "format=pdf&a=1&a=2&name=%C3%BC+x", "the service's query")
    same(answer.json["nonce"], None, "a link without a nonce")
    same((answer.json["link"]["one_time"], answer.json["link"]["grant"]), (False, None), "the link")
    same(answer.headers["cache-control"], "private, no-store", "caches")
    same(answer.headers["referrer-policy"], "strict-origin", "the referrer")
    same(answer.headers["x-robots-tag"], "noindex, nofollow", "robots")
    opened(link, "the link again")
    same(opened(link, "HEAD", method="HEAD").body, b"", "HEAD")
    opened(link, "spelled in another way", headers={"cookie": "a=b", "authorization": "Bearer x", "range": "bytes=0-1"})
    opened(link + "&utm_source=mail", "a parameter that is left out")
    same(opened(link + "&utm_source=mail", "it").json["query"], "format=pdf&a=1&a=2&name=%C3%BC+x", "it is removed")
    opened(presign("/a%20b", 604800), "seven days")
    print("links are opened")


def changing():
    link = presign("/orders/17?format=pdf", 3600)
    for old, new in [("/17", "/18"), ("pdf", "png"), ("expires=3600", "expires=7200"), ("&expires", "&x=1&expires")]:
        refused(link.replace(old, new), 401, "invalid_signature", f"{old} changed")
    sign = link[-1]
    refused(link[:-1] + ("0" if sign != "0" else "1"), 401, "invalid_signature", "another sign")
    refused(presign("/a", 3600, app="unknown"), 401, "invalid_signature", "an unknown app")
    refused(link.replace("appId=demo", "appId=other"), 401, "invalid_signature", "another app")
    refused(link.replace("expires=3600&", ""), 400, "missing_field", "no lifetime")
    refused(link.replace("appId=demo&", ""), 400, "missing_field", "no app")
    refused(link.replace("&", "&amp;"), 400, "missing_field", "escaped twice")
    refused(link + "&sign=" + "0" * 64, 400, "malformed_field", "two signs")
    refused(link + "&token=tok_1", 400, "malformed_field", "a token")
    refused(presign("/a", 604801), 400, "malformed_field", "too long")
    refused(presign("/a", "0600"), 400, "malformed_field", "a leading zero")
    refused(link, 405, "method_not_allowed", "POST", method="POST")
    same(send("DELETE", link).headers["allow"], "GET, HEAD", "the methods")
    print("changed links are refused")


def ending():
    now = int(time.time())
    refused(presign("/a", 60, at=now - 60), 403, "expired_link", "an expired link")
    refused(presign("/a", 60, at=now + 310), 401, "stale_timestamp", "a link of the future")
    opened(presign("/a", 60, at=now + 200), "a clock that is ahead")
    link = presign("/a", 2)
    opened(link, "a short link")
    time.sleep(2.1)
    refused(link, 403, "expired_link", "a link that expired meanwhile")
    print("links expire")


def grants():
    token = expect(call("POST", "/_tokens", {"user": "u-17"}), 201, None, "a token").json["token"]
    grant = lambda: expect(call("POST", "/_grants", {"ttl": 600}, token), 201, None, "a grant").json
    first, second = grant(), grant()
    links = [presign("/a", 600, grant=first["grant"]), presign("/a", 600, grant=second["grant"])]
    for link, issued in zip(links, (first, second)):
        same(opened(link, "a link with a grant").json["link"]["grant"]["id"], issued["id"], "its grant")
    same(opened(links[0], "it again").json["link"]["grant"]["user"], "u-17", "who shares it")
    listed = expect(call("GET", "/_grants", token=token), 200, None, "list").json["grants"]
    same([grant["id"] for grant in listed], [first["id"], second["id"]], "the list of grants")
    refused(presign("/a", 600, grant=first["grant"], app="other"), 401, "invalid_token", "another app's grant")
    refused(presign("/a", 600, grant=first["grant"][:-1]), 400, "malformed_field", "half a grant")
    refused(links[0].replace(first["grant"], second["grant"]), 401, "invalid_signature", "another grant")
    expect(call("GET", "/", token=first["grant"]), 401, "invalid_token", "a grant as a token")
    expect(call("DELETE", "/_grants/" + first["id"], token=token), 204, None, "end")
    refused(links[0], 401, "invalid_token", "an ended grant")
    opened(links[1], "the other grant")
    expect(call("DELETE", "/_tokens", token=token), 204, None, "a logout")
    opened(links[1], "after a logout")
    expect(call("DELETE", "/_users/u-17/sessions"), 200, None, "the end of all")
    answer = refused(links[1], 401, "invalid_token", "after the end of all")
    same("reason" in answer.json, False, "no reason")
    print("links end with their grants")


def using_once():
    link = presign("/a", 600, once=True)
    if not ONCE:
        refused(link, 500, "misconfigured", "a link for one use without a shared store")
        print("links for one use need a shared store")
        return
    answer = refused(link, 405, "method_not_allowed", "HEAD", method="HEAD")
    same(answer.headers["allow"], "GET", "the method")
    refused(link, 405, "method_not_allowed", "a prefetch", headers={"sec-purpose": "prefetch"})
    same(opened(link, "the first time").json["link"]["one_time"], True, "the link")
    refused(link, 401, "replayed_nonce", "the second time")
    print("links for one use are opened once")


for part in (examples, opening, changing, ending, grants, using_once):
    part()
