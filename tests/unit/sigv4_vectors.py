#!/usr/bin/python3
"""Requests and what botocore signs for them, for test_sigv4.c.

One field a line, "name value" with the value in hex, in the order in which the test reads them; "header" comes as
often as there are headers ("name:value" as one value); "end" closes a case. Without botocore: "skip REASON".
"""

import datetime
import itertools
import random
import sys

try:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
except ImportError as error:
    print("skip", error)
    sys.exit(0)

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def sign(case):
    """The three stages and the Authorization header. `case` has the request as it goes over the wire."""
    credentials = Credentials(case["access"], case["secret"], case["token"])
    url = f"https://{case['host']}{case['path']}" + (f"?{case['query']}" if case["query"] is not None else "")
    request = AWSRequest(method=case["method"], url=url, data=case["body"])
    for name, value in case["headers"]:
        request.headers.add_header(name, value)
    request.headers["X-Amz-Date"] = case["date"]
    if case["token"]:
        request.headers["X-Amz-Security-Token"] = case["token"]
    request.context["timestamp"] = case["date"]
    auth = SigV4Auth(credentials, case["service"], case["region"])
    canonical = auth.canonical_request(request)
    to_sign = auth.string_to_sign(request, canonical)
    signature = auth.signature(to_sign, request)
    auth._inject_signature_to_request(request, signature)
    return canonical, to_sign, signature, request.headers["Authorization"]


BASE = {
    "method": "GET",
    "host": "route53globalresolver.us-east-2.api.aws",
    "path": "/tokens/t-0123",
    "query": None,
    "headers": [],
    "body": b"",
    "region": "us-east-2",
    "service": "route53globalresolver",
    "access": "AKIDEXAMPLE",
    "secret": SECRET,
    "token": None,
    "time": 1767225600,
}

PATHS = [
    "", "/", "//", "///a", "/a/", "/a//", "/a//b", "/.", "/..", "/./", "/../", "/a/.", "/a/..", "/a/./", "/a/../",
    "/a/../..", "/a/../../b", "/a/b/../c", "/.a", "/..a", "/a./b..", "/...", "/a/.../b", "/a%20b", "/a%2Fb", "/a%2fb/",
    "/%", "/%zz", "/a+b", "/a:b@c!$&'()*,;=d", "/~user-1_2.3", "/é", "/%C3%A9", "/日本/語", "/a b", "/tokens/t-1.2",
    "/a|b\\c^d`e{f}g\"h<i>", "/" + "x" * 2000,
]

QUERIES = [
    "", "a", "a=", "=a", "=", "&", "&&", "a&", "&a", "a=1&a", "b=1&a=2", "a=2&a=1", "a=1&a=1", "a=b=c", "a==",
    "a=1&A=1&b=&B", "ab=1&a=1", "a=1&ab=0&a-=3&a.=4&a%20=5", "a=%20&a=%2B&a=+", "a=%7E&a=~", "a=%c3%a9&a=%C3%A9",
    "max_results=100&next_token=AAAA%2Bb%2F%3D%3D", "a=é&a=z&é=1&z=2", "a=ab&a=a&a=a-&a=b", "a/b=c/d?e", "Z=1&a=1&_=1",
    "&".join(f"k{i % 7}=v{i * 37 % 11}" for i in range(60)),
]

HEADERS = [
    [("Accept", "application/json")],
    [("X-Text", "  two  words  ")],
    [("X-Text", "\ta\t b \t\t")],
    [("X-Text", "")],
    [("X-Text", "   ")],
    [("X-Text", "one"), ("x-text", "two"), ("X-TEXT", " three  four ")],
    [("Zeta", "1"), ("alpha", "2"), ("Host-Name", "3"), ("hos", "4"), ("host_", "5"), ("x-amz-datE0", "6")],
    [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")],
    [("X-Quoted", "\"a   b\", c:d;e=f")],
    [("X-Amz-Target", "é ü")],
]


def handwritten():
    for path in PATHS:
        yield {"path": path}
    for query in QUERIES:
        yield {"query": query}
        yield {"query": query, "path": ""}
    for headers in HEADERS:
        yield {"headers": headers}
    for body in [b"", b"{}", b"Action=GetCallerIdentity&Version=2011-06-15", bytes(range(256)), b"\0", b"x" * 70000]:
        yield {"method": "POST", "body": body}
    for token in ["t", "IQoJb3JpZ2luX2VjE//+==", " padded  token ", "x" * 4000]:
        yield {"token": token}
    for region, service in [("us-gov-west-1", "sts"), ("cn-north-1", "sso"), ("eu-central-1", "route53globalresolver")]:
        yield {"region": region, "service": service}
    for host in ["localhost:8080", "127.0.0.1", "[::1]:443", "a.b:1"]:
        yield {"host": host, "headers": [("Host", host)]}
    for time in [0, 59, 951782400, 1709164799, 1709251200, 4102444799, 253402300799]:
        yield {"time": time}
    for secret in ["s", "x" * 40, "y" * 60, "z" * 200, "ключ"]:
        yield {"secret": secret, "access": "ASIA" + "Q" * 124}


def random_cases(count):
    rng = random.Random(53)
    path_chars = "ab.%/-_~+:@é "
    query_chars = "ab=&%2+-._~é"
    value_chars = "ab \t,;\"é"
    for _ in range(count):
        yield {
            "path": "/" + "".join(rng.choices(path_chars, k=rng.randrange(24))),
            "query": "".join(rng.choices(query_chars, k=rng.randrange(40))) if rng.random() < 0.8 else None,
            "headers": [
                (f"X-{rng.choice('aAbB')}", "".join(rng.choices(value_chars, k=rng.randrange(12))))
                for _ in range(rng.randrange(4))
            ],
            "body": rng.randbytes(rng.randrange(200)) if rng.random() < 0.5 else b"",
            "token": "".join(rng.choices("ab+/=", k=8)) if rng.random() < 0.5 else None,
            "time": rng.randrange(4102444800),
        }


def emit(name, value):
    data = value if isinstance(value, bytes) else str(value).encode()
    print(name, data.hex())


def main():
    epoch = datetime.datetime(1970, 1, 1)
    for change in itertools.chain(handwritten(), random_cases(300)):
        case = {**BASE, **change}
        case["date"] = (epoch + datetime.timedelta(seconds=case["time"])).strftime("%Y%m%dT%H%M%SZ")
        canonical, to_sign, signature, authorization = sign(case)
        for name in ["method", "host", "path", "region", "service", "access", "secret", "time", "body"]:
            emit(name, case[name])
        for name in ["query", "token"]:
            if case[name] is not None:
                emit(name, case[name])
        for name, value in case["headers"]:
            if name != "Host":
                emit("header", f"{name}:{value}")
        for name, value in zip(["canonical", "tosign", "signature", "authorization"],
                               [canonical, to_sign, signature, authorization]):
            emit(name, value)
        print("end")


if __name__ == "__main__":
    main()
