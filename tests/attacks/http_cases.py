"""Attacks on the HTTP front as rows: the bytes, what they would gain, and the statuses that must come back.

Where a request is ambiguous to some proxy, this server must answer it once and close, so that nothing behind it is
taken for a request of somebody else. ``INNER`` is what would be smuggled.
"""

import gzip
from dataclasses import dataclass

INNER = b'POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\n{"query":"smuggled!!"}'
BODY = b'{"query":"select 1"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
DEEP = 100_000
BOMB = gzip.compress(bytes(1 << 20), mtime=0)


@dataclass(frozen=True)
class HttpAttack:
    """``statuses`` is what comes back, in order, on one connection; ``closes``: it ends with that."""

    id: str
    gain: str
    data: bytes
    statuses: tuple[int, ...]
    closes: bool = True


def request(headers: bytes, body: bytes = BODY, *, line: bytes = b"POST /sql HTTP/1.1", host: bytes = b"x") -> bytes:
    return line + b"\r\nHost: " + host + b"\r\n" + headers + b"\r\n" + body


def json(body: bytes) -> bytes:
    return request(
        b"Neon-Connection-String: postgresql://anonymous@x/neondb\r\nContent-Length: %d\r\n" % len(body), body
    )


SMUGGLING = "a request of the attacker's runs behind a proxy as somebody else's"
MEMORY = "memory or time without bound for a few bytes"
SPLITTING = "headers or a body of the attacker's choice in an answer"

CASES = [
    HttpAttack("HT-01", SMUGGLING, request(LENGTH + b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + INNER), (400,)),
    HttpAttack("HT-02", SMUGGLING, request(b"Transfer-Encoding: chunked\r\n" + LENGTH, b"0\r\n\r\n" + INNER), (400,)),
    HttpAttack("HT-03", SMUGGLING, request(b"Content-Length: 0\r\n" + LENGTH, INNER), (400,)),
    HttpAttack("HT-04", SMUGGLING, request(LENGTH + LENGTH), (400,)),
    HttpAttack("HT-05", SMUGGLING, request(b"Content-Length: 20, 20\r\n"), (400,)),
    HttpAttack("HT-06", SMUGGLING, request(b"Content-Length: +20\r\n"), (400,)),
    HttpAttack("HT-07", SMUGGLING, request(b"Content-Length: 0x14\r\n"), (400,)),
    HttpAttack("HT-08", SMUGGLING, request(b"Content-Length: -1\r\n"), (400,)),
    HttpAttack("HT-09", SMUGGLING, request(b"Content-Length: 99999999999999999999999\r\n"), (400,)),
    HttpAttack("HT-10", SMUGGLING, request(b"Content-Length : 20\r\n"), (400,)),
    HttpAttack("HT-11", SMUGGLING, request(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + INNER), (400,)),
    HttpAttack("HT-12", SMUGGLING, request(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n" + INNER), (400,)),
    HttpAttack("HT-13", SMUGGLING, request(b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n" + INNER), (400,)),
    HttpAttack("HT-14", SMUGGLING, request(b"X: a\r\n Transfer-Encoding: chunked\r\n" + LENGTH), (400,)),
    HttpAttack("HT-15", SMUGGLING, request(LENGTH).replace(b"\r\n", b"\n"), (400,)),
    HttpAttack("HT-16", SMUGGLING, request(b"X: a\nTransfer-Encoding: chunked\r\n" + LENGTH), (400,)),
    HttpAttack("HT-17", SMUGGLING, request(b"X: a\rTransfer-Encoding: chunked\r\n" + LENGTH), (400,)),
    HttpAttack("HT-18", SMUGGLING, request(b"X: a\0b\r\n" + LENGTH), (400,)),
    HttpAttack(
        "HT-19", SMUGGLING, request(b"Transfer-Encoding: chunked\r\n", b"14;x\n" + BODY + b"\r\n0\r\n\r\n"), (400,)
    ),
    HttpAttack(
        "HT-20", SMUGGLING, request(b"Transfer-Encoding: chunked\r\n", b"+14\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)
    ),
    HttpAttack("HT-21", SMUGGLING, request(b"Transfer-Encoding: chunked\r\n", b"ffffffffffffffffff\r\n"), (400,)),
    HttpAttack("HT-22", SMUGGLING, request(b"Transfer-Encoding: chunked\r\n", b"2\r\n{}X0\r\n\r\n"), (400,)),
    HttpAttack("HT-23", SMUGGLING, request(b"", INNER, line=b"POST /sql HTTP/0.9"), (400,)),
    HttpAttack("HT-24", SMUGGLING, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    HttpAttack("HT-25", SMUGGLING, request(b"Host: other\r\n" + LENGTH), (400,)),
    HttpAttack("HT-26", SPLITTING, request(LENGTH + b"Origin: a\r\n" + b"Origin: b\r\n"), (400,)),
    HttpAttack("HT-27", SPLITTING, request(LENGTH, line=b"POST /sql\x01 HTTP/1.1"), (400,)),
    HttpAttack(
        "HT-28",
        SPLITTING,
        request(b"Neon-Connection-String: postgresql://anonymous@x/db%0d%0aX:y\r\n" + LENGTH),
        (400,),
        False,
    ),
    HttpAttack("HT-29", MEMORY, request(b"X: " + b"a" * 40_000 + b"\r\n" + LENGTH), (431,)),
    HttpAttack("HT-30", MEMORY, request(b"".join(b"X-%d: 1\r\n" % number for number in range(5000)) + LENGTH), (431,)),
    HttpAttack("HT-31", MEMORY, request(LENGTH, line=b"POST /" + b"s" * 40_000 + b" HTTP/1.1"), (431,)),
    HttpAttack("HT-32", MEMORY, json(b'{"query":' + b"[" * DEEP + b"}"), (400,), False),
    HttpAttack(
        "HT-33", MEMORY, json(b'{"query":"select 1","params":[' + b"[" * DEEP + b"]" * DEEP + b"]}"), (400,), False
    ),
    HttpAttack("HT-34", MEMORY, json(b'{"x":' * DEEP + b"1" + b"}" * DEEP), (400,), False),
    HttpAttack("HT-35", MEMORY, json(b'{"query":"select 1","params":[' + b"9" * 1_000_000 + b"]}"), (400,), False),
    HttpAttack("HT-36", MEMORY, json(b'{"query":"select $1::float8","params":[1e999999999]}'), (400,), False),
    HttpAttack("HT-37", MEMORY, request(b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(BOMB), BOMB), (400,)),
    HttpAttack("HT-38", MEMORY, request(b"Content-Encoding: br\r\n" + LENGTH), (400,)),
    HttpAttack("HT-39", MEMORY, request(b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n", b""), (413,)),
    HttpAttack(
        "HT-40",
        MEMORY,
        json(b'{"queries":[' + b'{"query":"select 1"},' * 5000 + b'{"query":"select 1"}]}'),
        (400,),
        False,
    ),
    HttpAttack(
        "HT-41",
        "the gateway as an open proxy",
        request(LENGTH, line=b"POST http://evil.example/sql HTTP/1.1"),
        (400,),
        False,
    ),
    HttpAttack(
        "HT-42", "the gateway as an open proxy", request(b"", b"", line=b"CONNECT evil.example:443 HTTP/1.1"), (400,)
    ),
    HttpAttack(
        "HT-43",
        "headers with credentials come back",
        request(b"X: 1\r\n", b"", line=b"TRACE /sql HTTP/1.1"),
        (400,),
        False,
    ),
    HttpAttack(
        "HT-44",
        "another protocol on the same connection",
        request(b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"", line=b"GET / HTTP/1.1"),
        (400,),
    ),
]
