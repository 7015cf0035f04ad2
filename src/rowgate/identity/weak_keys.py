"""RSA keys of the kind that a widely used chip made badly (ROCA, CVE-2017-15361): whoever has the public half can find
the private one.

Such a modulus is a power of 65537 modulo every small prime, which other moduli are with a chance of about one in 2^55.
This module never factors anything.
"""

from __future__ import annotations

from typing import Final

_GENERATOR: Final = 65537
_PRIMES: Final = (
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
)  # fmt: skip


def _powers(prime: int) -> frozenset[int]:
    found, power = set(), 1
    while power not in found:
        found.add(power)
        power = power * _GENERATOR % prime
    return frozenset(found)


_POWERS: Final = tuple((prime, _powers(prime)) for prime in _PRIMES)


def is_roca(modulus: int) -> bool:
    """Whether an RSA modulus bears the mark of those keys."""
    return all(modulus % prime in powers for prime, powers in _POWERS)
