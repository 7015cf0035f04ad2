"""Type OIDs that Postgres fixes for ever, and which of them are arrays of what.

OIDs below 10,000 are assigned by hand in Postgres's source and never change; the table is the same on 15 and on 18.
Types of the user (an enum's array) have other OIDs in every database: whoever needs them reads ``pg_type`` and adds
them. This module never asks a database.

Source: ``pg_type`` of a fresh database (``typsubscript = 'array_subscript_handler'``). ``int2vector`` and
``oidvector`` are subscripted like arrays but written like "1 2 3", so they are no arrays here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

BOOL: Final = 16
BYTEA: Final = 17
INT8: Final = 20
INT2: Final = 21
INT4: Final = 23
TEXT: Final = 25
OID: Final = 26
JSON: Final = 114
FLOAT4: Final = 700
FLOAT8: Final = 701
DATE: Final = 1082
TIMESTAMP: Final = 1114
TIMESTAMPTZ: Final = 1184
NUMERIC: Final = 1700
JSONB: Final = 3802


@dataclass(frozen=True, slots=True)
class ArrayType:
    """What an array's text needs to be read: its elements' type, and the character between them."""

    element_oid: int
    delimiter: str = ","


BUILTIN_ARRAYS: Final[Mapping[int, ArrayType]] = MappingProxyType(
    {
        143: ArrayType(142),  # xml
        199: ArrayType(114),  # json
        210: ArrayType(71),  # pg_type
        270: ArrayType(75),  # pg_attribute
        271: ArrayType(5069),  # xid8
        272: ArrayType(81),  # pg_proc
        273: ArrayType(83),  # pg_class
        629: ArrayType(628),  # line
        651: ArrayType(650),  # cidr
        719: ArrayType(718),  # circle
        775: ArrayType(774),  # macaddr8
        791: ArrayType(790),  # money
        1000: ArrayType(16),  # bool
        1001: ArrayType(17),  # bytea
        1002: ArrayType(18),  # char
        1003: ArrayType(19),  # name
        1005: ArrayType(21),  # int2
        1006: ArrayType(22),  # int2vector
        1007: ArrayType(23),  # int4
        1008: ArrayType(24),  # regproc
        1009: ArrayType(25),  # text
        1010: ArrayType(27),  # tid
        1011: ArrayType(28),  # xid
        1012: ArrayType(29),  # cid
        1013: ArrayType(30),  # oidvector
        1014: ArrayType(1042),  # bpchar
        1015: ArrayType(1043),  # varchar
        1016: ArrayType(20),  # int8
        1017: ArrayType(600),  # point
        1018: ArrayType(601),  # lseg
        1019: ArrayType(602),  # path
        1020: ArrayType(603, ";"),  # box
        1021: ArrayType(700),  # float4
        1022: ArrayType(701),  # float8
        1027: ArrayType(604),  # polygon
        1028: ArrayType(26),  # oid
        1034: ArrayType(1033),  # aclitem
        1040: ArrayType(829),  # macaddr
        1041: ArrayType(869),  # inet
        1115: ArrayType(1114),  # timestamp
        1182: ArrayType(1082),  # date
        1183: ArrayType(1083),  # time
        1185: ArrayType(1184),  # timestamptz
        1187: ArrayType(1186),  # interval
        1231: ArrayType(1700),  # numeric
        1263: ArrayType(2275),  # cstring
        1270: ArrayType(1266),  # timetz
        1561: ArrayType(1560),  # bit
        1563: ArrayType(1562),  # varbit
        2201: ArrayType(1790),  # refcursor
        2207: ArrayType(2202),  # regprocedure
        2208: ArrayType(2203),  # regoper
        2209: ArrayType(2204),  # regoperator
        2210: ArrayType(2205),  # regclass
        2211: ArrayType(2206),  # regtype
        2287: ArrayType(2249),  # record
        2949: ArrayType(2970),  # txid_snapshot
        2951: ArrayType(2950),  # uuid
        3221: ArrayType(3220),  # pg_lsn
        3643: ArrayType(3614),  # tsvector
        3644: ArrayType(3642),  # gtsvector
        3645: ArrayType(3615),  # tsquery
        3735: ArrayType(3734),  # regconfig
        3770: ArrayType(3769),  # regdictionary
        3807: ArrayType(3802),  # jsonb
        3905: ArrayType(3904),  # int4range
        3907: ArrayType(3906),  # numrange
        3909: ArrayType(3908),  # tsrange
        3911: ArrayType(3910),  # tstzrange
        3913: ArrayType(3912),  # daterange
        3927: ArrayType(3926),  # int8range
        4073: ArrayType(4072),  # jsonpath
        4090: ArrayType(4089),  # regnamespace
        4097: ArrayType(4096),  # regrole
        4192: ArrayType(4191),  # regcollation
        5039: ArrayType(5038),  # pg_snapshot
        6150: ArrayType(4451),  # int4multirange
        6151: ArrayType(4532),  # nummultirange
        6152: ArrayType(4533),  # tsmultirange
        6153: ArrayType(4534),  # tstzmultirange
        6155: ArrayType(4535),  # datemultirange
        6157: ArrayType(4536),  # int8multirange
    }
)
"""By the array's OID; the comments name the element type."""
