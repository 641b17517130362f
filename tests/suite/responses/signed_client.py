#!/usr/bin/env python3
"""A client that knows PROTOCOL.md alone. It requires signed responses.

    signed_client.py http://127.0.0.1:8080 METHOD PATH [BODY]

Prints `signed STATUS`, or `unknown REASON`. The app is `demo`, with the key of PROTOCOL.md.
"""
import hashlib
import hmac
import http.client
import secrets
import sys
import time

KEY = "0123456789abcdef0123456789abcdef"
# With an encoding after a colon, the client asks for it, to show what a proxy does.
BASE, METHOD, PATH = sys.argv[1:4]
BODY = sys.argv[4].encode() if len(sys.argv) > 4 else b""
FURTHER = ["location"]


def mac(text):
    return hmac.new(KEY.encode(), text, hashlib.sha256).hexdigest()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def line(headers, name):
    values = headers.get_all(name)
    return name if values is None else name + ":" + ", ".join(value.strip(" \t") for value in values)


def content_type(headers):
    values = headers.get_all("content-type") or [""]
    if len(values) != 1:
        raise ValueError("two content types")
    kind = values[0].split(";")[0].strip().lower()
    if kind.startswith("multipart/"):
        raise ValueError("this client reads no multipart")
    return kind


def problem(sign, response, body):
    """The reason why the response is not accepted, or None."""
    headers = response.headers
    fields = [headers.get_all("x-response-" + name) or [] for name in ("timestamp", "content-sha256", "sign")]
    if any(len(values) != 1 for values in fields):
        return "unsigned"
    timestamp, digest, signature = (values[0] for values in fields)
    if METHOD == "HEAD" or response.status in (101, 204, 304):
        body = b""
    if sha256(body) != digest:
        return "body"
    lines = ["CS1-RESPONSE", f"{response.status:03}", content_type(headers)]
    lines += [line(headers, name) for name in ("content-encoding", "content-range")] + [digest]
    lines += [line(headers, name) for name in sorted(FURTHER)]
    lines += ["demo", sign, KEY, timestamp]
    if not hmac.compare_digest(mac("\n".join(lines).encode("latin-1")), signature):
        return "signature"
    if abs(int(timestamp) - int(time.time())) > 300:
        return "timestamp"
    return None


timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
headers = {"x-app-id": "demo", "x-timestamp": timestamp, "x-nonce": nonce}
headers["accept-encoding"] = "gzip" if PATH.startswith("/gzip") else "identity"
kind = digest = ""
if BODY:
    kind, digest = "text/plain", sha256(BODY)
    headers.update({"content-type": kind, "x-content-sha256": digest})
sign = mac("\n".join(["CS1-REQUEST", METHOD, "", PATH, "", "", kind, digest, "demo", "", KEY, timestamp, nonce]).encode())
headers["x-sign"] = sign
connection = http.client.HTTPConnection(BASE.removeprefix("http://"), timeout=10)
connection.request(METHOD, PATH, body=BODY or None, headers=headers)
response = connection.getresponse()
reason = problem(sign, response, response.read())
print(f"signed {response.status}" if reason is None else f"unknown {reason}")
