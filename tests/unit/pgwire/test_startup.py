"""The start of a connection against a server of the test's own, honest and lying."""

import contextlib
import hashlib
import hmac
import itertools
import struct
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scramp import ScramException, ScramMechanism

from rowgate.errors import ConnectFailed, DatabaseError, ProtocolViolation, RowgateError
from rowgate.pgwire import messages
from rowgate.pgwire.scram import MAX_ITERATIONS, ScramExchange
from rowgate.pgwire.startup import MAX_STARTUP_BYTES, MAX_STARTUP_MESSAGES, Ready, Startup, StartupStep

PARAMETERS = {"user": "gateway", "database": "app"}
STARTUP_MESSAGE = messages.startup(PARAMETERS)
BINDING = b"the hash of a certificate"


def message(kind, body):
    return kind + struct.pack(">i", len(body) + 4) + body


def authentication(method, data=b""):
    return message(b"R", struct.pack(">i", method) + data)


def sasl(*mechanisms):
    return authentication(10, b"".join(name.encode() + b"\0" for name in mechanisms) + b"\0")


OK = authentication(0)
SETTLED = (
    message(b"S", b"server_version\x0018.4\0")
    + message(b"N", b"SNOTICE\0Mhello\0\0")
    + message(b"S", b"TimeZone\0UTC\0")
    + message(b"K", b"\0\0\x12\x67abcd")
)
IDLE = message(b"Z", b"I")
READY = Ready({"server_version": "18.4", "TimeZone": "UTC"}, 4711, b"abcd")


def begun(password=b"secret", tls="disable", **options):
    """A start whose startup message has gone out (after the handshake where TLS is required)."""
    start = Startup(PARAMETERS, password, tls, **options)
    start.start()
    if tls == "require":
        start.receive(b"S")
        start.tls_established()
    return start


@dataclass
class ScramServer:
    """Postgres's side of SCRAM, by scramp. ``lie`` changes the server's last message."""

    password: str = "secret"
    mechanism: str = "SCRAM-SHA-256"
    binding: bytes | None = None
    iterations: int = 4096

    def __post_init__(self):
        mechanism = ScramMechanism(self.mechanism)
        info = mechanism.make_auth_info(self.password, self.iterations, b"sixteen byte salt")
        binding = None if self.binding is None else ("tls-server-end-point", self.binding)
        self.server = mechanism.make_server(lambda user: info, binding)

    def challenge(self, answer):
        """The answer to SASLInitialResponse."""
        name, _, rest = answer[5:].partition(b"\0")
        assert name.decode() == self.mechanism
        assert struct.unpack_from(">i", rest)[0] == len(rest) - 4
        self.server.set_client_first(rest[4:].decode())
        return authentication(11, self.server.get_server_first().encode())

    def proof(self, answer):
        """The answer to the client's proof."""
        self.server.set_client_final(answer[5:].decode())
        return authentication(12, self.server.get_server_final().encode())


def log_in(start, server, offered=("SCRAM-SHA-256",)):
    """SCRAM to its end; what the start makes of the server's last word."""
    step = start.receive(sasl(*offered))
    step = start.receive(server.challenge(step.send))
    return start.receive(server.proof(step.send) + OK + SETTLED + IDLE)


# --- TLS ------------------------------------------------------------------------------------------------------


def test_without_tls_the_startup_message_goes_first():
    assert Startup(PARAMETERS, None, "disable").start() == STARTUP_MESSAGE


@pytest.mark.parametrize("tls", ["prefer", "require"])
def test_tls(tls):
    start = Startup(PARAMETERS, None, tls)
    assert start.start() == messages.ssl_request()
    assert start.receive(b"") == StartupStep()
    assert start.receive(b"S") == StartupStep(begin_tls=True)
    assert start.tls_established() == STARTUP_MESSAGE
    assert start.receive(OK + SETTLED + IDLE).ready == READY


def test_tls_preferred_and_not_offered():
    start = Startup(PARAMETERS, None, "prefer")
    start.start()
    assert start.receive(b"N") == StartupStep(STARTUP_MESSAGE)
    assert start.receive(OK + SETTLED + IDLE).ready == READY


def test_tls_required_and_not_offered():
    start = Startup(PARAMETERS, None, "require")
    start.start()
    with pytest.raises(ConnectFailed, match="does not offer TLS"):
        start.receive(b"N")


@pytest.mark.parametrize("answer", [b"S", b"N"])
def test_bytes_before_the_handshake_are_refused(answer):
    start = Startup(PARAMETERS, None, "prefer")
    start.start()
    with pytest.raises(ProtocolViolation, match="together with the answer"):
        start.receive(answer + OK)


def test_bytes_during_the_handshake_are_refused():
    start = Startup(PARAMETERS, None, "require")
    start.start()
    start.receive(b"S")
    with pytest.raises(ProtocolViolation):
        start.receive(OK)


def test_an_error_before_tls_is_not_shown():
    start = Startup(PARAMETERS, None, "prefer")
    start.start()
    with pytest.raises(ConnectFailed) as caught:
        start.receive(message(b"E", b"Msend me your password\0\0"))
    assert "password" not in f"{caught.value.message}{caught.value.detail}"


def test_another_answer_to_the_request_for_tls():
    start = Startup(PARAMETERS, None, "prefer")
    start.start()
    with pytest.raises(ProtocolViolation, match="not one"):
        start.receive(b"H")


# --- authentication -------------------------------------------------------------------------------------------


def test_trust():
    assert begun(None).receive(OK + SETTLED + IDLE) == StartupStep(ready=READY)


def test_md5():
    start = begun()
    inner = hashlib.md5(b"secretgateway").hexdigest().encode()
    expected = b"md5" + hashlib.md5(inner + b"salt").hexdigest().encode()
    assert start.receive(authentication(5, b"salt")).send == messages.password(expected)
    assert start.receive(OK + SETTLED + IDLE).ready == READY


@pytest.mark.parametrize("salt", [b"", b"sal", b"salty"])
def test_md5_with_a_salt_of_another_length(salt):
    with pytest.raises(ProtocolViolation, match="salt"):
        begun().receive(authentication(5, salt))


@pytest.mark.parametrize("options", [{"tls": "require"}, {"allow_cleartext": True}])
def test_cleartext_where_nobody_listens(options):
    start = begun(**options)
    assert start.receive(authentication(3)).send == messages.password(b"secret")
    assert start.receive(OK + SETTLED + IDLE).ready == READY


def test_cleartext_without_tls_is_refused():
    with pytest.raises(ConnectFailed, match="in clear"):
        begun().receive(authentication(3))


@pytest.mark.parametrize("request_", [authentication(3), authentication(5, b"salt"), sasl("SCRAM-SHA-256")])
@pytest.mark.parametrize("password", [None, b""])
def test_a_password_is_asked_for_and_none_is_there(request_, password):
    with pytest.raises(ConnectFailed, match="none is configured"):
        begun(password, allow_cleartext=True).receive(request_)


@pytest.mark.parametrize("method", [1, 2, 4, 6, 7, 8, 9, 13, -1, 2**31 - 1])
def test_other_methods_are_refused(method):
    with pytest.raises(ConnectFailed, match="not supported"):
        begun().receive(authentication(method))


SECOND_REQUESTS = [authentication(3), authentication(5, b"salt"), sasl("SCRAM-SHA-256"), authentication(7)]


@pytest.mark.parametrize("first", SECOND_REQUESTS[:3])
@pytest.mark.parametrize("second", [*SECOND_REQUESTS, authentication(12, b"v=")])
def test_a_second_request_is_refused(first, second):
    start = begun(allow_cleartext=True)
    start.receive(first)
    with pytest.raises(ProtocolViolation, match="does not belong"):
        start.receive(second)


def test_an_error_of_the_server_keeps_its_fields():
    with pytest.raises(DatabaseError) as caught:
        begun().receive(message(b"E", b'SFATAL\0C3D000\0Mdatabase "app" does not exist\0\0'))
    assert caught.value.database_sqlstate == "3D000"
    assert caught.value.fields == {"S": "FATAL", "C": "3D000", "M": 'database "app" does not exist'}


# --- SCRAM ----------------------------------------------------------------------------------------------------


def test_scram():
    assert log_in(begun(), ScramServer()).ready == READY


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs", "Cn", "Cc"]), min_size=1, max_size=8))
@example("pass word\u00a0ﬁ")
def test_scram_with_passwords_that_saslprep_takes(password):
    try:
        server = ScramServer(password)
    except ScramException:
        return
    assert log_in(begun(password.encode()), server).ready == READY


@pytest.mark.parametrize("password", [b"\xf0\x9f\xab\xa0 melting", b"\xff\xfe not utf-8", b"bell \x07"])
def test_scram_with_passwords_that_are_hashed_as_they_are(password):
    salt, iterations = b"sixteen byte salt", 4096
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = ScramServer()
    server.server = ScramMechanism().make_server(
        lambda user: (salt, stored, hmac.digest(salted, b"Server Key", "sha256"), iterations)
    )
    assert log_in(begun(password), server).ready == READY


def test_scram_in_single_bytes():
    start, server = begun(), ScramServer()

    def receive(data):
        return b"".join(start.receive(bytes((byte,))).send for byte in data)

    challenge = server.challenge(receive(sasl("SCRAM-SHA-256")))
    assert receive(server.proof(receive(challenge)) + OK + SETTLED + IDLE[:-1]) == b""
    assert start.receive(IDLE[-1:]).ready == READY


def test_scram_with_a_wrong_password():
    start, server = begun(b"wrong"), ScramServer()
    step = start.receive(server.challenge(start.receive(sasl("SCRAM-SHA-256")).send))
    with pytest.raises(ScramException, match="client keys don't match"):
        server.proof(step.send)
    with pytest.raises(DatabaseError, match="authentication failed"):
        start.receive(message(b"E", b"SFATAL\0C28P01\0Mpassword authentication failed\0\0"))


@pytest.mark.parametrize(
    "last", [b"v=" + b"A" * 43 + b"=", b"v=AAAA", b"v=", b"e=other-error", b"e=nonsense", b"", b"\xff"]
)
def test_scram_with_a_lying_signature(last):
    start, server = begun(), ScramServer()
    start.receive(server.challenge(start.receive(sasl("SCRAM-SHA-256")).send))
    with pytest.raises(ProtocolViolation):
        start.receive(authentication(12, last) + OK + SETTLED + IDLE)


def test_scram_is_not_over_before_the_server_has_proved_itself():
    for steps in (1, 2):
        start, server = begun(), ScramServer()
        step = start.receive(sasl("SCRAM-SHA-256"))
        if steps == 2:
            start.receive(server.challenge(step.send))
        with pytest.raises(ProtocolViolation, match="does not belong"):
            start.receive(OK)


def test_scram_steps_out_of_order():
    for request_ in (authentication(11, b"r=x"), authentication(12, b"v=x")):
        with pytest.raises(ProtocolViolation, match="does not belong"):
            begun().receive(request_)


@pytest.mark.parametrize("iterations", [1, 4095, MAX_ITERATIONS + 1, 999_999_999_999])
def test_scram_iterations_are_bounded(iterations):
    start = begun(nonce=lambda: "abc")
    start.receive(sasl("SCRAM-SHA-256"))
    with pytest.raises(ConnectFailed, match="out of bounds"):
        start.receive(authentication(11, b"r=abcdef,s=c2l4dGVlbiBieXRlIHNhbHQ=,i=%d" % iterations))


@pytest.mark.parametrize(
    "challenge",
    [
        b"", b"\xff", b"r=abcdef", b"r=xyz,s=c2l4dGVlbiBieXRlIHNhbHQ=,i=4096",
        b"r=abc,s=c2l4dGVlbiBieXRlIHNhbHQ=,i=4096",
        b"r=abcdef,s=!,i=4096", b"r=abcdef,s=c2l4dGVlbiBieXRlIHNhbHQ=,i=x",
        b"m=x,r=abcdef,s=c2l4dGVlbiBieXRlIHNhbHQ=,i=4096",
        b"r=abcdef,s=c2l4dGVlbiBieXRlIHNhbHQ=,i=9999999999999999", b"r=abcdef,s=c2l4dGVlbiBieXRlIHNhbHQ=,i=4096,i=4096",
    ],
)  # fmt: skip
def test_scram_with_a_broken_challenge(challenge):
    start = begun(nonce=lambda: "abc")
    start.receive(sasl("SCRAM-SHA-256"))
    with pytest.raises(ProtocolViolation):
        start.receive(authentication(11, challenge))


@given(st.text("rsivem=,abc0149/+", max_size=40).map(str.encode) | st.binary(max_size=40), st.binary(max_size=40))
def test_scram_with_random_messages(challenge, last):
    for begin in (b"", b"r=abcd,s=c2l4dGVlbiBieXRlIHNhbHQ=,i=4096"):
        exchange = ScramExchange("SCRAM-SHA-256", b"secret", "abc", None)
        exchange.first()
        with contextlib.suppress(ProtocolViolation, ConnectFailed):
            exchange.final(begin + challenge)
            exchange.verify(last)
            pytest.fail("random bytes were taken for a proof")


@pytest.mark.parametrize(
    ("mechanism", "nonce"), [("SCRAM-SHA-256-PLUS", "abc"), ("SCRAM-SHA-256", "a,b"), ("SCRAM-SHA-256", "")]
)
def test_scram_that_cannot_begin(mechanism, nonce):
    with pytest.raises(ConnectFailed, match="could not begin") as caught:
        ScramExchange(mechanism, b"secret", nonce, None)
    assert "secret" not in caught.value.detail


def test_channel_binding_is_used_where_both_have_it():
    start = begun(tls="require", channel_binding_data=lambda: BINDING)
    server = ScramServer(mechanism="SCRAM-SHA-256-PLUS", binding=BINDING)
    assert log_in(start, server, ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")).ready == READY


def test_channel_binding_to_another_certificate():
    start = begun(tls="require", channel_binding_data=lambda: b"the hash of another one")
    with pytest.raises(ScramException, match="channel bindings don't match"):
        log_in(start, ScramServer(mechanism="SCRAM-SHA-256-PLUS", binding=BINDING), ("SCRAM-SHA-256-PLUS",))


def test_an_offer_of_channel_binding_that_was_taken_away_is_noticed():
    start = begun(tls="require", channel_binding_data=lambda: BINDING)
    with pytest.raises(ScramException, match="'y'"):
        log_in(start, ScramServer(binding=BINDING), ("SCRAM-SHA-256",))


@pytest.mark.parametrize("data", [None, lambda: None])
def test_without_binding_data_the_plain_mechanism_is_used(data):
    start = begun(tls="require", channel_binding_data=data)
    assert log_in(start, ScramServer(), ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")).ready == READY


def test_channel_binding_offered_without_tls_is_refused():
    with pytest.raises(ProtocolViolation, match="channel binding"):
        begun(channel_binding_data=lambda: BINDING).receive(sasl("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"))


@pytest.mark.parametrize("offered", [(), ("OAUTHBEARER",), ("SCRAM-SHA-512",)])
def test_no_mechanism_in_common(offered):
    with pytest.raises(ConnectFailed, match="no SASL mechanism"):
        begun().receive(sasl(*offered))


def test_only_the_bound_mechanism_and_nothing_to_bind():
    with pytest.raises(ConnectFailed, match="no SASL mechanism"):
        begun(tls="require").receive(sasl("SCRAM-SHA-256-PLUS"))


# --- after authentication -------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 120)))
def test_any_chunks(cuts):
    data = OK + SETTLED + IDLE
    borders = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    start = begun()
    steps = [start.receive(data[a:b]) for a, b in itertools.pairwise(borders)]
    assert [step.ready for step in steps] == [None] * (len(steps) - 1) + [READY]


def test_what_comes_after_ready_is_handed_on():
    later = message(b"S", b"TimeZone\0Europe/Berlin\0") + message(b"N", b"Mhi\0\0") + b"A\0\0"
    assert begun().receive(OK + SETTLED + IDLE + later).ready.rest == later


@pytest.mark.parametrize(
    "data",
    [
        IDLE, SETTLED, message(b"K", b"12345678"), message(b"T", b""), message(b"D", b"\0\0"), message(b"R", b"\0"),
        OK + OK, OK + IDLE, OK + SETTLED + message(b"Z", b"T"), OK + SETTLED + message(b"Z", b"E"),
        OK + SETTLED + message(b"Z", b""),
        OK + SETTLED + message(b"K", b"12345678"), OK + message(b"K", b"1234567"),
        OK + message(b"C", b"SELECT 1\0"),
        OK + authentication(3), OK + message(b"S", b"TimeZone\0UTC"), OK + message(b"A", b"\0\0\0\1a\0b\0"),
        b"HTTP/1.1 400",
        OK + message(b"v", b"\0\3\0\0\0\0\0\0"), b"R\0\0\0\3", b"R\x7f\xff\xff\xff",
    ],
)  # fmt: skip
def test_what_does_not_belong_there(data):
    start = begun()
    with pytest.raises(ProtocolViolation):
        start.receive(data)
    with pytest.raises(ProtocolViolation, match="none may come") as caught:
        start.receive(OK)
    assert "FAILED" in caught.value.detail


def test_nothing_may_be_received_before_the_start_or_after_the_end():
    with pytest.raises(ProtocolViolation, match="none may come"):
        Startup(PARAMETERS, None, "disable").receive(OK)
    start = begun()
    start.receive(OK + SETTLED + IDLE)
    with pytest.raises(ProtocolViolation, match="none may come"):
        start.receive(b"")


def test_steps_of_the_caller_out_of_order():
    start = begun()
    with pytest.raises(ProtocolViolation, match="not at this step"):
        start.start()
    with pytest.raises(ProtocolViolation, match="not at this step"):
        begun().tls_established()


@pytest.mark.parametrize("version", [0, 196608])
def test_negotiation_of_the_version_we_speak(version):
    start = Startup({**PARAMETERS, "_pq_.option": "1"}, None, "disable")
    start.start()
    start.receive(message(b"v", struct.pack(">ii", version, 1) + b"_pq_.option\0"))
    assert start.receive(OK + SETTLED + IDLE).ready == READY


@pytest.mark.parametrize(
    "body",
    [
        struct.pack(">ii", 196610, 0), struct.pack(">ii", 131072, 0), struct.pack(">ii", 196608, 1) + b"_pq_.other\0",
        struct.pack(">ii", 196608, 1), struct.pack(">ii", 196608, -1), b"",
    ],
)  # fmt: skip
def test_negotiation_of_what_was_not_asked_for(body):
    with pytest.raises(ProtocolViolation):
        begun().receive(message(b"v", body))


def test_negotiation_happens_once():
    once = message(b"v", struct.pack(">ii", 196608, 0))
    with pytest.raises(ProtocolViolation, match="negotiates"):
        begun().receive(once + once)


@pytest.mark.parametrize("before", [b"", OK])
@pytest.mark.parametrize("flood", [message(b"N", b"\0"), message(b"N", b"M" + b"x" * 60_000 + b"\0\0")])
def test_a_flood_is_stopped(before, flood):
    start = begun()
    start.receive(before)
    enough = min(MAX_STARTUP_MESSAGES, MAX_STARTUP_BYTES // len(flood)) - 1
    for _ in range(enough):
        assert start.receive(flood) == StartupStep()
    with pytest.raises(ProtocolViolation, match="does not come to an end"):
        start.receive(flood * 2)


def test_a_flood_in_one_chunk_is_stopped():
    with pytest.raises(ProtocolViolation, match="does not come to an end"):
        begun().receive(OK + message(b"N", b"\0") * MAX_STARTUP_MESSAGES + SETTLED + IDLE)


@given(
    st.lists(
        st.binary(max_size=30) | st.sampled_from([OK, SETTLED, sasl("SCRAM-SHA-256"), b"S", b"N", authentication(3)])
    )
)
def test_random_bytes_raise_nothing_but_errors_of_the_tree(chunks):
    for tls in ("disable", "prefer"):
        start = Startup(PARAMETERS, b"secret", tls)
        start.start()
        with contextlib.suppress(RowgateError):
            for chunk in chunks:
                assert start.receive(chunk).ready is None


def test_secrets_are_not_shown():
    start = begun(allow_cleartext=True)
    step = start.receive(authentication(3))
    assert "secret" in step.send.decode()
    ready = start.receive(OK + SETTLED + IDLE).ready
    for shown in (repr(start), repr(step), repr(ready), repr(StartupStep(ready=ready))):
        assert "secret" not in shown
        assert "abcd" not in shown
    assert "secret" not in repr(vars(start))


def test_the_nonce_is_fresh_for_each_start():
    answers = {begun().receive(sasl("SCRAM-SHA-256")).send for _ in range(3)}
    assert len(answers) == 3
