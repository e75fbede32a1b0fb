#!/usr/bin/env python3
"""Makes huawei.json: requests, each with the signature that the official signer gives it.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install huaweicloudsdkcore==3.1.219
    /tmp/venv/bin/python tests/vectors/make.py > tests/vectors/huawei.json

The same every time. Bodies are JSON or BSON: for other types the official signer leaves the body
unsigned. Paths are as they are sent; queries are not encoded yet, `uri` is what goes out.
"""

import json
import random
import sys
from datetime import datetime, timezone

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest

RANDOM = random.Random(20261122)
PROJECT = "48cc2c48765f481480c7db940d6409d1"
HOSTS = ["dli.cn-north-4.myhuaweicloud.com", "dayu-dlf.eu-de.otc.t-systems.com", "127.0.0.1:8080", "[::1]:443"]
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "get"]
SEGMENTS = [
    "v1.0", "jobs", "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa", "status", "脚本_etl.v2", "a b", "a+b", "~me", "a*b",
    "", ".", "..", "...", "a%20b", "%E8%84%9A", "%e8%84%9a", "%2F", "%7E", "%", "%zz", "100%25", "a=b&c", "(x)!'",
    "a:b@c;d,e", "$", "é", "e\u0301", "🦀", "\"<>`{}|\\^[]", "#", "?",
]
NAMES = ["limit", "marker", "Limit", "a", "a-b", "a_b", "a.b", "a~", "a b", "名", "~", "%", "+", "", "é", "🦀", "b"]
VALUES = ["1", "10", "9", "", " ", "a b", "a+b", "a%20b", "~", "*", "/", "值", "&=?#", "é", "🦀", "A", "a", "true"]
BODIES = ["", "{}", '{"sql": "SELECT 1"}', '{"name":"脚本 🦀"}', " ", "\r\n", "\u0000", "x" * 300]
TYPES = ["application/json", "application/json;charset=UTF-8", "application/bson", "application/json "]
EXTRA = [("User-Agent", "jobtrack/0.1.0"), ("workspace", "7c1f0e9b"), ("X-Language", "en-us"), ("Zed", " a  b "), ("Empty", "")]


def name(length):
    return "".join(RANDOM.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") for _ in range(length))


def vector(method, path, query, body="", content_type=TYPES[0], token=None, extra=(), host=HOSTS[0]):
    """A request, and what becomes of it."""
    moment = RANDOM.randrange(946_684_800, 4_102_444_800)
    at = datetime.fromtimestamp(moment, timezone.utc)
    headers = {"Content-Type": content_type, **dict(extra)}
    if content_type is None:
        del headers["Content-Type"]
    ak, sk = name(20), name(40) if RANDOM.random() < 0.9 else name(100)
    credentials = BasicCredentials(ak, sk, PROJECT)
    if token:
        credentials.with_security_token(token)
    request = SdkRequest(
        method=method, schema="https", host=host, resource_path=path, query_params=list(query),
        header_params={**headers, "X-Sdk-Date": at.strftime("%Y%m%dT%H%M%SZ")}, body=body,
    )
    signed = credentials.sign_request(request)
    headers |= {"Host": host, "X-Project-Id": PROJECT}
    if token:
        headers["X-Security-Token"] = token
    assert set(headers) == set(signed.header_params) - {"Authorization", "X-Sdk-Date"}
    return {
        "method": method, "path": path, "query": query, "headers": headers, "body": body,
        "ak": ak, "sk": sk, "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "uri": signed.uri, "authorization": signed.header_params["Authorization"],
    }


def vectors():
    for method in METHODS:
        yield vector(method, f"/v1.0/{PROJECT}/jobs", [], RANDOM.choice(BODIES))
    for segment in SEGMENTS:
        yield vector("GET", f"/v1/{PROJECT}/scripts/{segment}/instances/1", [])
        yield vector("GET", f"/{segment}", [])
        yield vector("GET", f"/a/{segment}/", [])
    for path in ["/", "//", "///", "/a//b", "//a", "/a//", "/a/./b/../c", "/%2F/", "/a/%2F"]:
        yield vector("GET", path, [["limit", "1"]])
    for key in NAMES:
        yield vector("GET", "/path", [["b", "2"], [key, "x"], [key, ""], [key, "X"]])
    for value in VALUES:
        yield vector("GET", "/path", [["k", value], ["k", "1"], ["j", value]])
    for body in BODIES:
        for content_type in [*TYPES, None]:
            yield vector("POST", "/path", [], body, content_type)
    for host in HOSTS:
        for token in [None, name(300), "a+b/c=="]:
            yield vector("GET", f"/v1.0/{PROJECT}/jobs/1/status", [], token=token, host=host, extra=EXTRA)
    for _ in range(60):
        path = "/" + "/".join(RANDOM.choices(SEGMENTS, k=RANDOM.randrange(6)))
        names, values = (RANDOM.choices(pool, k=RANDOM.randrange(6)) for pool in (NAMES, VALUES))
        yield vector(
            RANDOM.choice(METHODS), path, [list(pair) for pair in zip(names, values)], RANDOM.choice(BODIES),
            RANDOM.choice(TYPES), RANDOM.choice([None, name(64)]),
            RANDOM.sample(EXTRA, RANDOM.randrange(len(EXTRA))), RANDOM.choice(HOSTS),
        )


lines = [json.dumps(one, ensure_ascii=True) for one in vectors()]
sys.stdout.write("[\n" + ",\n".join(lines) + "\n]\n")
