"""WebSocket frames after the handshake (``gateway/websocket_frames.py`` and the library behind it).

Promised: frames that were cut into fragments mean what they meant whole: the library reads the same payload, the same
pings, and refuses with the same code. However the bytes come, the same payload comes out, and never more is held back
than one frame of control. Nothing but frames is ever raised.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from rowgate.gateway.websocket_frames import LONGEST_CONTROL, MOST_FRAME_BYTES, FrameCutter
from tests.fuzz.target import Target, cut_anywhere, hold
from tests.unit.gateway.test_websocket_front import frame

QUIET = logging.getLogger("tests.fuzz.websocket")
QUIET.setLevel(logging.CRITICAL)
LONGEST_HEADER = 14
CONTROL = frozenset({Opcode.PING, Opcode.PONG, Opcode.CLOSE})
KINDS = {Opcode.TEXT: "text", Opcode.BINARY: "binary"}


@dataclass
class Read:
    """What the library has made of bytes; fragments of a message are one."""

    payload: bytes = b""
    kinds: list[str] = field(default_factory=list)
    control: list[tuple[Opcode, bytes]] = field(default_factory=list)
    failure: int | None = None

    def take(self, protocol: Protocol) -> None:
        for event in protocol.events_received():
            if not isinstance(event, Frame):
                continue
            if event.opcode in CONTROL:
                self.control.append((event.opcode, bytes(event.data)))
                continue
            self.payload += bytes(event.data)
            if event.opcode in KINDS:
                self.kinds.append(KINDS[event.opcode])
        closing = protocol.close_sent
        self.failure = None if closing is None else closing.code


def read(pieces: Iterable[bytes]) -> Read:
    protocol = Protocol(Side.SERVER, state=OPEN, max_size=(None, MOST_FRAME_BYTES), logger=QUIET)
    found = Read()
    for piece in pieces:
        protocol.receive_data(piece)
        found.take(protocol)
    return found


def cut(pieces: Iterable[bytes]) -> tuple[list[bytes], int]:
    """What comes out of a cutter, and the most that it held back."""
    cutter = FrameCutter()
    out: list[bytes] = []
    given = taken = most = 0
    for piece in pieces:
        given += len(piece)
        for part in cutter.cut(piece):
            out.append(part)
            taken += len(part)
        most = max(most, given - taken)
    return out, most


def ends_in_a_bad_frame(data: bytes) -> bool:
    """Whether the last frame has not come whole, and breaks the rules all the same (RFC 6455, sections 5.2 to 5.5): the
    library reads a frame to its end before it judges some of it, and the rest before the cutter has seen its mask."""
    at, is_open = 0, False
    while at + 2 <= len(data):
        first, length = data[at], data[at + 1] & 0x7F
        extended = {126: 2, 127: 8}.get(length, 0)
        if extended:
            length = int.from_bytes(data[at + 2 : at + 2 + extended])
        end = at + 2 + extended + 4 + length
        opcode, final = first & 0x0F, first & 0x80
        if end > len(data):
            if at + 6 + extended > len(data):
                return True
            if opcode >= 8:
                return bool(length > LONGEST_CONTROL or not final or first & 0x70 or opcode > 10)
            return bool(first & 0x70) or is_open != (opcode == 0) or opcode > 2
        if opcode < 8:
            is_open = not final
        at = end
    return False


def try_out(data: bytes) -> None:
    """See above."""
    whole = read([data])
    for pieces in ([data], cut_anywhere(data)):
        out, held = cut(pieces)
        hold(held <= LONGEST_HEADER + LONGEST_CONTROL, f"the cutter holds {held} bytes back")
        came = read(out)
        if came.failure != whole.failure:
            early = came.failure == CloseCode.PROTOCOL_ERROR and whole.failure is None
            late = came.failure is None and whole.failure is not None
            hold(
                (early or late) and ends_in_a_bad_frame(data),
                f"cut frames end with {came.failure}, whole ones with {whole.failure}",
            )
        hold(came.control == whole.control, "cut frames have other pings")
        # A frame that is not complete has come in part already, and the library would still wait for its end.
        hold(came.payload.startswith(whole.payload), "cut frames have another payload")
        hold(came.kinds[: len(whole.kinds)] == whole.kinds, "cut frames are of another kind")


def seeds() -> Iterable[bytes]:
    """Frames of every kind, sound and not."""
    text, binary, close, ping, pong = Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE, Opcode.PING, Opcode.PONG
    yield frame(binary, b"hello")
    yield frame(binary, b"x" * 200) + frame(binary, b"y" * 3000)
    yield frame(binary, b"x" * 3000, length=70_000)
    yield frame(binary, b"a", fin=False) + frame(0, b"b", fin=False) + frame(ping, b"ping") + frame(0, b"c")
    yield frame(close, b"\x03\xe8bye") + frame(binary, b"late")
    yield frame(text, b"text")
    yield b"\x82\x05plain"
    yield frame(ping) + frame(pong, b"p" * 125)
    yield frame(ping, b"p" * 126)
    yield frame(3, b"reserved")
    yield frame(binary, b"again") + frame(binary, b"again", fin=False) + frame(binary, b"again")
    yield b"\x82\xff" + (1 << 63).to_bytes(8) + b"\1\2\3\4abc"
    yield b"\x82\xff" + ((1 << 30) + 1).to_bytes(8) + b"\1\2\3\4abc"
    yield b"\xc2\x85\1\2\3\4hello"
    yield b"\x02\x80\1\2\3\4\x80\x80\1\2\3\4"


TARGET = Target("websocket", try_out, seeds)
