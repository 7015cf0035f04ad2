"""One HTTP client for all tests that need none of their own.

``httpx.post`` and the like read all certificate authorities of the machine at every call, which takes longer than most
requests. This client checks no certificate, so it is for plain http; every request has a connection of its own, and no
cookie stays behind.
"""

from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

HTTP: Final = httpx.Client(
    verify=False,
    limits=httpx.Limits(max_keepalive_connections=0),
    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
)
