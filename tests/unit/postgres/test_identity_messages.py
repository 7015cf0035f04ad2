"""What tells a backend whom it works for: when it is asked to verify, and how long a sealed message is used again."""

from rowgate.pgwire import messages
from rowgate.pgwire.stream import MessageStream
from rowgate.postgres import identity_messages as kept
from rowgate.postgres.exchange import Step
from rowgate.postgres.identity_messages import KEEP_SQL, VERIFY_SQL, IdentityMessages
from rowgate.postgres.kept_seals import REUSE_SECONDS
from rowgate.postgres.session_context import LIFETIME_SECONDS, ContextSigner, SessionIdentity

SECRET = bytes(32)


class Backend:
    """Keeps what the identity's messages ask of a backend; its clock is the test's."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.names = iter(b"name%d" % number for number in range(1000))
        self.identities = IdentityMessages(42, lambda: self.now, lambda: next(self.names))

    def signer(self) -> ContextSigner:
        return ContextSigner("key", SECRET, clock=lambda: self.now)

    def ask(self, identity: SessionIdentity) -> tuple[list[bytes], Step]:
        """The kinds of messages and the step; the backend knows the statement from now on."""
        parts: list[bytes] = []
        steps: list[Step] = []
        self.identities.add(identity, parts, steps)
        (step,) = steps
        if step.parsed_here:
            self.identities.learn(step)
        return parts, step


def identity(signer: ContextSigner, name: bytes = b"alice", expires_at: float = 1e9) -> SessionIdentity:
    return SessionIdentity(signer, b"authenticated", name, b'{"sub":"%b"}' % name, expires_at)


def kinds(parts: list[bytes]) -> bytes:
    return bytes(kind for kind, _ in MessageStream(1 << 20).feed(b"".join(parts)))


def ready_backend() -> tuple[Backend, ContextSigner]:
    backend = Backend()
    signer = backend.signer()
    assert backend.ask(identity(signer))[1].sql == VERIFY_SQL
    assert backend.ask(identity(signer))[1].sql == KEEP_SQL
    return backend, signer


def test_the_first_is_verified_and_each_statement_parsed_once() -> None:
    backend, signer = Backend(), Backend().signer()
    asked = [backend.ask(identity(signer)) for _ in range(3)]
    assert [kinds(parts) for parts, _ in asked] == [b"PBE", b"PBE", b"BE"]
    assert [step.parsed_here for _, step in asked] == [True, True, False]


def test_a_message_is_used_again_for_a_while_and_never_when_its_seals_are_old() -> None:
    backend, signer = ready_backend()
    first, _ = backend.ask(identity(signer))
    backend.now += 1
    assert backend.ask(identity(signer))[0] == first
    backend.now += REUSE_SECONDS
    backend.ask(identity(signer))  # verified again
    assert backend.ask(identity(signer))[0] != first
    assert REUSE_SECONDS <= LIFETIME_SECONDS - 20


def test_verification_comes_back_and_after_doubt() -> None:
    backend, signer = ready_backend()
    backend.now += kept.VERIFY_EVERY_SECONDS + 1
    assert backend.ask(identity(signer))[1].sql == VERIFY_SQL
    assert backend.ask(identity(signer))[1].sql == KEEP_SQL
    backend.identities.doubt()
    assert backend.ask(identity(signer))[1].sql == VERIFY_SQL


def test_another_user_and_another_key_never_get_it() -> None:
    backend, signer = ready_backend()
    alice, _ = backend.ask(identity(signer))
    bob, _ = backend.ask(identity(signer, b"bob"))
    assert b"alice" not in b"".join(bob)
    rotated = ContextSigner("other", bytes(range(32)), clock=lambda: backend.now)
    assert backend.ask(identity(rotated))[0] != alice
    # The same claims under another subject, as another provider's rules may have it.
    same_claims = SessionIdentity(signer, b"authenticated", b"eve", b'{"sub":"alice"}', 1e9)
    assert b"eve" in b"".join(backend.ask(same_claims)[0])


def test_another_membership_never_gets_it() -> None:
    """The same token by other rules of its provider."""
    backend, signer = ready_backend()

    def member(of: bytes) -> bytes:
        one = SessionIdentity(signer, b"authenticated", b"alice", b'{"sub":"alice"}', 1e9, b'{"org_id":"%b"}' % of)
        return b"".join(backend.ask(one)[0])

    assert b"acme" in member(b"acme")
    assert b"other" in member(b"other")
    assert b"org_id" not in b"".join(backend.ask(identity(signer))[0])


def test_where_the_backend_verifies_a_membership_is_kept_after_it() -> None:
    backend, signer = Backend(), Backend().signer()
    parts: list[bytes] = []
    steps: list[Step] = []
    one = SessionIdentity(signer, b"authenticated", b"alice", b'{"sub":"alice"}', 1e9, b'{"org_id":"acme"}')
    backend.identities.add(one, parts, steps)
    assert [step.sql for step in steps] == [VERIFY_SQL, KEEP_SQL]
    assert kinds(parts) == b"PBEPBE"
    assert b"acme" in parts[-1]


def test_it_ends_with_the_users_token() -> None:
    backend, signer = ready_backend()
    parts, _ = backend.ask(identity(signer, b"short", expires_at=1005.0))
    assert b"0000001005" in b"".join(parts)


def test_nothing_is_known_after_all_is_forgotten() -> None:
    backend, signer = ready_backend()
    backend.identities.forget_all()
    parts, step = backend.ask(identity(signer))
    assert (kinds(parts), step.sql) == (b"PBE", KEEP_SQL)
    assert parts[0] == messages.parse(step.prepared.name if step.prepared else b"", KEEP_SQL, (25, 25))
