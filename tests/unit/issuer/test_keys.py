"""The signing key: made once, kept private, and never replaced behind anyone's back."""

import json
import os
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from rowgate.errors import DataFolderUnusable
from rowgate.identity.keyset import parse_key_set
from rowgate.issuer import files, keys
from rowgate.issuer.keys import KEY_FILE, PUBLISHED_FILE, KeyRing, load_signing_key
from tests.unit.identity.forge import NOW, Clock


def test_the_key_is_made_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    made = load_signing_key(folder)
    assert load_signing_key(folder) == made
    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]


def test_the_key_set_holds_the_public_half_alone(tmp_path: Path) -> None:
    made = load_signing_key(tmp_path)
    document = KeyRing(tmp_path, Clock()).key_set()
    (entry,) = json.loads(document)["keys"]
    assert set(entry) == {"kty", "n", "e", "kid", "alg", "use"}
    key_set = parse_key_set(document)
    assert list(key_set.keys) == [made.key_id] == [key_set.keys[made.key_id].thumbprint]
    assert key_set.keys[made.key_id].algorithms == ("RS256",)


def test_a_repr_shows_no_key(tmp_path: Path) -> None:
    made = load_signing_key(tmp_path)
    assert repr(made) == f"SigningKey(key_id={made.key_id!r})"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a key",
        b"\xff\x00",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        RSAKey.generate_key(2048).as_pem(private=True)[:500],
        RSAKey.generate_key(2048).as_pem(private=False),
        RSAKey.generate_key(2048).as_pem(private=True, password="pass"),
        ECKey.generate_key("P-256").as_pem(private=True),
        json.dumps(OctKey.generate_key(256).as_dict(private=True)).encode(),
    ],
    ids=["empty", "text", "bytes", "no-key", "half", "public", "encrypted", "ec", "oct"],
)
def test_a_damaged_key_is_told_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / KEY_FILE
    path.write_bytes(content)
    with pytest.raises(DataFolderUnusable) as caught:
        load_signing_key(tmp_path)
    assert KEY_FILE in str(caught.value.detail)
    assert "delete it" in str(caught.value.hint)
    assert path.read_bytes() == content


def test_a_key_that_others_can_read_is_made_private(tmp_path: Path) -> None:
    load_signing_key(tmp_path)
    os.chmod(tmp_path / KEY_FILE, 0o644)
    load_signing_key(tmp_path)
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_of_two_first_starts_one_key_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process makes the key between our look and our write: its key counts, and nothing is left behind."""
    other = RSAKey.generate_key(2048).as_pem(private=True)

    def slow(path: Path, content: bytes) -> bool:
        path.write_bytes(other)
        return files.create_file(path, content)

    monkeypatch.setattr(keys, "create_file", slow)
    assert load_signing_key(tmp_path).key_id == RSAKey.import_key(other).thumbprint()
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataFolderUnusable):
        load_signing_key(tmp_path / "file")
    (tmp_path / KEY_FILE).mkdir()
    with pytest.raises(DataFolderUnusable):
        load_signing_key(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "users.json"
    files.write_file(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataFolderUnusable, match="cannot be used"):
        files.write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["users.json"]


def key_ids(ring: KeyRing) -> list[str]:
    return list(parse_key_set(ring.key_set()).keys)


def test_a_rotated_out_key_is_published_until_its_last_token_is_over(tmp_path: Path) -> None:
    clock = Clock()
    ring = KeyRing(tmp_path, clock)
    old = ring.current.key_id
    ring.sign({"sub": "a", "exp": NOW + 60})
    ring.sign({"sub": "a", "exp": NOW + 7200})
    new = ring.rotate().key_id
    assert new != old
    assert key_ids(ring) == [new, old]
    clock.now = NOW + 7199
    assert key_ids(ring) == [new, old]
    clock.now = NOW + 7200 + 3601
    assert key_ids(ring) == [new]
    (tmp_path / KEY_FILE).stat()
    published = json.loads((tmp_path / PUBLISHED_FILE).read_text())["keys"]
    assert all("d" not in entry["key"] for entry in published)


def test_a_key_that_never_signed_goes_at_once(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path, Clock())
    assert key_ids(ring) == [ring.current.key_id]
    new = ring.rotate().key_id
    assert key_ids(ring) == [new]


def test_another_process_rotates(tmp_path: Path) -> None:
    ring, other = KeyRing(tmp_path, Clock()), KeyRing(tmp_path, Clock())
    old = ring.current.key_id
    ring.sign({"exp": NOW + 60})
    new = other.rotate().key_id
    assert key_ids(ring) == key_ids(other) == [new, old]
    assert ring.current.key_id == new


def test_few_tokens_cost_a_write(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path, Clock())
    ring.sign({"exp": NOW + 60})
    first = (tmp_path / PUBLISHED_FILE).stat().st_ino
    for second in range(100):
        ring.sign({"exp": NOW + 60 + second})
    assert (tmp_path / PUBLISHED_FILE).stat().st_ino == first


@pytest.mark.parametrize(
    "content",
    ["{}", '{"keys":[{}]}', '{"keys":[{"key":{"kid":"a","d":"x"},"until":1}]}', '{"keys":[{"key":{},"until":1}]}'],
)
def test_a_damaged_list_of_published_keys(tmp_path: Path, content: str) -> None:
    (tmp_path / PUBLISHED_FILE).write_text(content)
    with pytest.raises(DataFolderUnusable):
        KeyRing(tmp_path, Clock())
