"""The TCP front over real sockets: TLS in all its forms, back-pressure, places, clients that vanish, and the end."""

import asyncio
import contextlib
import os
import socket
import ssl
from pathlib import Path

import pytest

from rowgate.gateway.dev_certificates import ensure_certificates
from rowgate.gateway.sessions.stream import READ_AHEAD_BYTES
from tests.unit.gateway.fronts import (
    DEADLINE,
    SSL_REQUEST,
    EchoSessions,
    connected,
    exactly,
    rest,
    running,
    tls_settings,
    trusting,
    until,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


async def test_bytes_go_both_ways() -> None:
    async with running() as fronts, connected(fronts.tcp_port) as (reader, writer):
        for byte in b"one at a time":
            writer.write(bytes([byte]))
            assert await exactly(reader, 1) == bytes([byte])
        big = os.urandom(3_000_000)
        writer.write(big)
        assert await exactly(reader, len(big)) == big
        stream = fronts.sessions.stream
        assert (stream.is_private, stream.has_tls, stream.can_start_tls, stream.server_name) == (
            True, False, False, None,
        )  # fmt: skip
        assert stream.peer.startswith("127.0.0.1:")


async def test_a_session_that_ends_closes_its_client_after_the_last_word() -> None:
    async with running() as fronts, connected(fronts.tcp_port) as (reader, writer):
        writer.write(b"goodbye")
        assert await rest(reader) == b"last word"


async def test_the_last_word_is_read_although_bytes_of_the_client_are_left_over() -> None:
    async with running() as fronts:
        for _ in range(20):
            async with connected(fronts.tcp_port) as (reader, writer):
                writer.write(b"goodbye" + b"x" * 500_000)
                assert await rest(reader) == b"last word"


async def test_a_closed_client_that_never_leaves_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowgate.gateway.byte_stream.LINGER_SECONDS", 0.5)
    async with running() as fronts, connected(fronts.tcp_port) as (reader, writer):
        writer.write(b"goodbye")
        assert await rest(reader) == b"last word"
        await until(lambda: fronts.host.clients == 0)


async def test_a_defect_of_a_session_is_the_clients_end_and_nobody_elses(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as fronts, connected(fronts.tcp_port) as (reader, writer):
        writer.write(b"break")
        assert await rest(reader) == b""
        async with connected(fronts.tcp_port) as (other, sender):
            sender.write(b"fine")
            assert await exactly(other, 4) == b"fine"
    assert "a defect in Rowgate" in caplog.text


async def test_what_was_sent_before_the_end_is_still_answered() -> None:
    async with running() as fronts, connected(fronts.tcp_port) as (reader, writer):
        writer.write(b"question")
        writer.write_eof()
        assert await rest(reader) == b"question"
        assert fronts.sessions.stream.gone.done()


# --- clients that vanish --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_waiting_session_learns_that_its_client_has_gone(how: str) -> None:
    async with running() as fronts, connected(fronts.tcp_port) as (_, writer):
        writer.write(b"wait")
        await asyncio.wait_for(fronts.sessions.waiting.wait(), DEADLINE)
        assert not fronts.sessions.stream.gone.done()
        getattr(writer.transport, how)()
        await until(lambda: fronts.sessions.ended == 1, 1.0)
        await until(lambda: fronts.host.clients == 0)


async def test_it_learns_it_behind_bytes_that_nobody_reads() -> None:
    async with running() as fronts:
        with socket.create_connection(("127.0.0.1", fronts.tcp_port)) as client:
            client.send(b"wait")
            await asyncio.wait_for(fronts.sessions.waiting.wait(), DEADLINE)
            stream = fronts.sessions.stream
            client.send(b"x" * 30_000)
            await until(lambda: bool(stream._paused))  # type: ignore[attr-defined]
            client.send(b"y" * 30_000)
        await until(stream.gone.done, 3.0)


async def test_a_session_is_told_while_it_writes() -> None:
    async with running() as fronts, connected(fronts.tcp_port) as (reader, writer):
        writer.write(b"flood")
        await exactly(reader, 100_000)
        writer.transport.abort()
        await until(lambda: fronts.sessions.ended == 1)


# --- back-pressure --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
async def test_little_is_read_ahead_of_a_session_that_waits(folder: Path, tls: bool) -> None:
    settings = tls_settings(folder) if tls else {}
    context = trusting(folder, "postgresql") if tls else None
    async with running(**settings) as fronts, connected(fronts.tcp_port, context) as (_, writer):
        writer.write(b"wait")
        await asyncio.wait_for(fronts.sessions.waiting.wait(), DEADLINE)
        writer.write(b"x" * 20_000_000)
        stream = fronts.sessions.stream
        await until(lambda: bool(stream._paused))  # type: ignore[attr-defined]
        assert 0 < len(stream._ahead) <= READ_AHEAD_BYTES  # type: ignore[attr-defined]
        assert not stream._transport.is_reading()  # type: ignore[attr-defined]
        writer.transport.abort()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_client_that_does_not_read_holds_its_session(folder: Path, tls: bool) -> None:
    settings = tls_settings(folder) if tls else {}
    context = trusting(folder, "postgresql") if tls else None
    async with running(**settings) as fronts, connected(fronts.tcp_port, context) as (reader, writer):
        writer.transport.pause_reading()
        writer.write(b"flood")
        await asyncio.wait_for(fronts.sessions.waiting.wait(), DEADLINE)
        stream = fronts.sessions.stream
        await until(lambda: stream._writable is not None)  # type: ignore[attr-defined]
        written = fronts.sessions.written
        transport = stream._transport  # type: ignore[attr-defined]
        assert transport.get_write_buffer_size() < 1_000_000
        writer.transport.resume_reading()
        await exactly(reader, written + 1_000_000)
        writer.transport.abort()
        await until(lambda: fronts.sessions.ended == 1)


# --- places ---------------------------------------------------------------------------------------------------


async def test_there_are_only_so_many_places() -> None:
    async with running(max_sessions=2) as fronts:
        async with connected(fronts.tcp_port) as one, connected(fronts.tcp_port) as two:
            for reader, writer in (one, two):
                writer.write(b"here")
                assert await exactly(reader, 4) == b"here"
            async with connected(fronts.tcp_port) as (reader, writer):
                writer.write(SSL_REQUEST)
                refusal = await rest(reader)
            assert refusal.startswith(b"E")
            assert b"SFATAL\0" in refusal
            assert b"C53300\0" in refusal
            assert b"rowgate:too_many_sessions" in refusal
            await until(lambda: fronts.host.refused == 0)
            assert fronts.host.clients == 2
        await until(lambda: fronts.host.clients == 0)
        async with connected(fronts.tcp_port) as (reader, writer):
            writer.write(b"free")
            assert await exactly(reader, 4) == b"free"


async def test_a_client_that_leaves_without_a_word_takes_no_place() -> None:
    """So do the probes of a load balancer, many a minute."""
    async with running() as fronts, connected(fronts.tcp_port) as (reader, writer):
        await until(lambda: fronts.host.clients == 1)
        writer.write_eof()
        assert await rest(reader) == b""
        await until(lambda: fronts.host.clients == 0)


async def test_a_client_that_says_nothing_loses_its_place() -> None:
    async with running(login_timeout_seconds=1) as fronts, connected(fronts.tcp_port) as (reader, _):
        assert await rest(reader) == b""
        await until(lambda: fronts.host.clients == 0)
        assert fronts.sessions.streams == []


# --- TLS ------------------------------------------------------------------------------------------------------


async def test_direct_tls(folder: Path) -> None:
    async with (
        running(**tls_settings(folder)) as fronts,
        connected(fronts.tcp_port, trusting(folder, "postgresql")) as (reader, writer),
    ):
        big = os.urandom(1_000_000)
        writer.write(big)
        assert await exactly(reader, len(big)) == big
        stream = fronts.sessions.stream
        assert (stream.has_tls, stream.is_private, stream.can_start_tls, stream.server_name) == (
            True, True, False, "localhost",
        )  # fmt: skip
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.write(b"goodbye")
        assert await rest(reader) == b"last word"


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
async def test_direct_tls_needs_its_alpn_name(folder: Path, alpn: tuple[str, ...]) -> None:
    async with (
        running(**tls_settings(folder)) as fronts,
        connected(fronts.tcp_port, trusting(folder, *alpn)) as (reader, _),
    ):
        assert b"direct TLS needs the ALPN name postgresql" in await rest(reader)
        assert fronts.sessions.streams == []


@pytest.mark.parametrize("alpn", [(), ("postgresql",)])
async def test_tls_after_it_was_asked_for(folder: Path, alpn: tuple[str, ...]) -> None:
    async with running(**tls_settings(folder)) as fronts, connected(fronts.tcp_port) as (reader, writer):
        writer.write(SSL_REQUEST)
        assert await exactly(reader, 1) == b"S"
        await asyncio.wait_for(writer.start_tls(trusting(folder, *alpn), server_hostname="localhost"), DEADLINE)
        for text in (b"first", b"x" * 300_000, b"last"):
            writer.write(text)
            assert await exactly(reader, len(text)) == text
        stream = fronts.sessions.stream
        assert (stream.has_tls, stream.can_start_tls, stream.server_name) == (True, False, "localhost")
        writer.write(b"wait")
        await asyncio.wait_for(fronts.sessions.waiting.wait(), DEADLINE)
        writer.transport.abort()
        await until(lambda: fronts.sessions.ended == 1, 1.0)


async def test_tls_one_byte_at_a_time(folder: Path) -> None:
    async with running(**tls_settings(folder)) as fronts:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting(folder, "postgresql").wrap_bio(incoming, outgoing, server_hostname="localhost")
        async with connected(fronts.tcp_port) as (reader, writer):

            async def send() -> None:
                for byte in outgoing.read():
                    writer.write(bytes([byte]))
                    await writer.drain()

            async def receive() -> None:
                incoming.write(await asyncio.wait_for(reader.read(65536), DEADLINE))

            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                    break
                await send()
                await receive()
            tls.write(b"by bytes")
            await send()
            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    assert tls.read() == b"by bytes"
                    break
                await receive()


async def test_bytes_that_somebody_slipped_in_before_tls_end_it(folder: Path) -> None:
    """CVE-2021-23214."""
    sessions = EchoSessions()

    async def serve(stream: object) -> None:
        await until(lambda: len(stream._ahead) >= 12)  # type: ignore[attr-defined]
        await stream.read()  # type: ignore[attr-defined]
        stream._received(b"slipped in")  # type: ignore[attr-defined]
        await sessions._start_tls(stream)  # type: ignore[arg-type]

    async with running(**tls_settings(folder)) as fronts:
        fronts.host.serve = serve  # type: ignore[assignment]
        async with connected(fronts.tcp_port) as (reader, writer):
            writer.write(SSL_REQUEST + b"more")
            with contextlib.suppress(ConnectionError):
                assert await rest(reader) == b""
        await until(lambda: len(sessions.failures) == 1)


async def test_a_handshake_that_fails_is_the_clients_end(folder: Path) -> None:
    async with running(**tls_settings(folder)) as fronts, connected(fronts.tcp_port) as (reader, writer):
        writer.write(SSL_REQUEST)
        assert await exactly(reader, 1) == b"S"
        writer.write(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff")
        alert = await rest(reader)
        assert alert[:1] == b"\x15"
        await until(lambda: len(fronts.sessions.failures) == 1)
        await until(lambda: fronts.host.clients == 0)


async def test_without_certificates_direct_tls_is_told_so() -> None:
    async with running() as fronts:
        context = ssl.create_default_context()
        with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
            async with connected(fronts.tcp_port, context):
                pass
        async with connected(fronts.tcp_port) as (reader, writer):
            writer.write(SSL_REQUEST)
            assert await exactly(reader, 1) == b"N"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_tls_is_refused(folder: Path) -> None:
    context = trusting(folder, "postgresql")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with running(**tls_settings(folder)) as fronts:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(fronts.tcp_port, context):
                pass


async def test_a_changed_certificate_is_shown_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rowgate.gateway.tls.CHECK_SECONDS", 0.0)
    settings = tls_settings(tmp_path)
    cert_file, key_file = Path(settings["tls_cert"]), Path(settings["tls_key"])
    async with running(**settings) as fronts:

        async def serial() -> str:
            async with connected(fronts.tcp_port, trusting_only(tmp_path), "localhost") as (_, writer):
                return str(writer.get_extra_info("ssl_object").getpeercert()["serialNumber"])

        first = await serial()
        ensure_certificates(tmp_path, ["new.example.test"])
        second = await serial()
        assert second != first
        break_file(cert_file)
        assert await serial() == second
        os.unlink(key_file)
        assert await serial() == second
    assert caplog.text.count("the new certificate cannot be used") == 2


def break_file(file: Path) -> None:
    file.write_text("-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n")


def trusting_only(folder: Path) -> ssl.SSLContext:
    """Like ``trusting``, without looking after the certificate."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.set_alpn_protocols(["postgresql"])
    return context


# --- stopping -------------------------------------------------------------------------------------------------


async def test_stopping_lets_sessions_end() -> None:
    async with running(shutdown_seconds=DEADLINE) as fronts, connected(fronts.tcp_port) as (reader, writer):
        writer.write(b"here")
        assert await exactly(reader, 4) == b"here"
        stopping = asyncio.create_task(fronts.stop())
        await until(lambda: fronts.host.stopping)
        writer.write(b"still")
        assert await exactly(reader, 5) == b"still"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", fronts.tcp_port)
        writer.write(b"goodbye")
        assert await rest(reader) == b"last word"
        writer.close()
        await asyncio.wait_for(stopping, 5)


async def test_sessions_that_do_not_end_are_cut_off() -> None:
    async with running(shutdown_seconds=1) as fronts, connected(fronts.tcp_port) as (reader, writer):
        writer.write(b"here")
        assert await exactly(reader, 4) == b"here"
        await asyncio.wait_for(fronts.stop(), 5)
        with contextlib.suppress(ConnectionError):
            assert await rest(reader) == b""
        assert fronts.sessions.ended == 1
