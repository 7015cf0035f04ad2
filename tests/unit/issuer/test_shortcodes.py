"""What the shortcodes of templates stand for, as Clerk's documents say it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.issuer.organizations import ActiveMembership, Membership, Organization
from rowgate.issuer.sessions import Session
from rowgate.issuer.shortcodes import attributes_of, rendered
from rowgate.issuer.users import FIRST_USERS, User

MARIA = User(
    id="user_maria",
    email="maria@example.com",
    first_name="Maria",
    last_name="Doe",
    external_id="7",
    created_at=1_227_618_844_000,
    public_metadata={"profile": {"interests": ["reading", "climbing"]}, "age": 0, "off": False, "none": None},
    unsafe_metadata={"foo": {"bar": 42}},
)
ACTIVE = ActiveMembership(
    Organization(id="org_1", name="One", slug="one", public_metadata={"tier": "gold"}),
    Membership(
        id="orgmem_1", organization_id="org_1", user_id="user_maria", role="org:admin", public_metadata={"x": 1}
    ),
    ("org:invoices:create",),
)
SESSION = Session(id="sess_1", user_id="user_maria", actor={"sub": "user_admin"})
ALL = attributes_of(MARIA, ACTIVE, {"org_1": "org:admin"}, SESSION)
ALICE = attributes_of(FIRST_USERS[0])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{{user.id}}", "user_maria"),
        ("{{ user.id }}", "user_maria"),
        ("{{user.external_id}}", "7"),
        ("{{user.email}}", "maria@example.com"),
        ("{{user.primary_email_address}}", "maria@example.com"),
        ("{{user.email_verified}}", True),
        ("{{user.phone_number_verified}}", False),
        ("{{user.primary_phone_number}}", None),
        ("{{user.full_name}}", "Maria Doe"),
        ("{{user.username}}", None),
        ("{{user.created_at}}", 1_227_618_844),
        ("{{user.organizations}}", {"org_1": "org:admin"}),
        ("{{user.public_metadata.profile.interests}}", ["reading", "climbing"]),
        ("{{user.unsafe_metadata}}", {"foo": {"bar": 42}}),
        ("{{user.unsafe_metadata.foo.bar}}", 42),
        ("{{user.private_metadata}}", None),
        ("{{user.i_dont_exist}}", None),
        ("{{org.id}} {{org.name}} {{org.slug}} {{org.role}}", "org_1 One one org:admin"),
        ("{{org.permissions}}", ["org:invoices:create"]),
        ("{{org.public_metadata.tier}}", "gold"),
        ("{{org_membership.role}}", "org:admin"),
        ("{{org_membership.public_metadata}}", {"x": 1}),
        ("{{session.id}}", "sess_1"),
        ("{{session.actor}}", {"sub": "user_admin"}),
        ("{{session.actor.sub}}", "user_admin"),
        ("{{user.username || user.first_name}}", "Maria"),
        ("{{user.email_verified || user.phone_number_verified}}", True),
        ("{{user.phone_number_verified || user.email_verified}}", True),
        ("{{user.username || 'Awesome User'}}", "Awesome User"),
        ("{{user.public_metadata.years || user.unsafe_metadata.years || 30 }}", 30),
        ("{{user.public_metadata.years || -1.5}}", -1.5),
        ("{{user.public_metadata.age || 30}}", 0),
        ("{{user.public_metadata.off || true}}", True),
        ("{{user.public_metadata.none || user.public_metadata.off}}", False),
        ("{{user.public_metadata.off || user.public_metadata.none}}", None),
        ("{{user.username || 'a || b'}}", "a || b"),
        ("{{user.username || '{{user.id}}'}}", "{{user.id}}"),
        ('{{user.username||"x"}}', "x"),
        ("{{unknown}}", None),
        ("{{user}}", None),
        ("{{}}", None),
        ("{{||}}", None),
        ("{{user.id.length}}", None),
        ("{{user.__class__}}", None),
        ("Hello {{user.first_name}}!", "Hello Maria!"),
        ("{{user.username}} John", "null John"),
        ("{{user.id}}{{user.id}}", "user_mariauser_maria"),
        ("meta {{user.unsafe_metadata}} {{user.email_verified}}", 'meta {"foo": {"bar": 42}} true'),
        ("{ {user.id} }", "{ {user.id} }"),
        ("{{user.id", "{{user.id"),
        ("", ""),
        (1, 1),
        (None, None),
        (True, True),
        (["{{user.id}}", {"a": "{{user.username}}"}], ["user_maria", {"a": None}]),
        ({"{{user.id}}": "{{user.id}}"}, {"{{user.id}}": "user_maria"}),
    ],
)
def test_shortcodes(value: Any, expected: Any) -> None:
    found = rendered(value, ALL)
    assert found == expected
    assert type(found) is type(expected)


def test_without_organization_and_session() -> None:
    for code in ("org.id", "org_membership.role", "session.id", "user.organizations.org_1"):
        assert rendered(f"{{{{{code}}}}}", ALICE) is None


def test_what_an_attribute_holds_is_not_read_as_a_shortcode() -> None:
    attributes = attributes_of(User(id="user_x", email="x@example.com", first_name="{{user.email}}"))
    assert rendered("{{user.first_name}}", attributes) == "{{user.email}}"
    assert rendered("I am {{user.first_name}}", attributes) == "I am {{user.email}}"


@given(st.text("{}|'\" user.id0", max_size=40))
def test_any_text_is_rendered_in_reasonable_time(text: str) -> None:
    rendered(text, ALL)


def test_a_long_text_takes_no_long_time() -> None:
    for text in ("{{" * 4000, "{{'" * 2500, "{{" + "'" * 8000, "{{" + "|" * 8000 + "}}", "{{" + "a||" * 2500 + "}}"):
        rendered(text, ALL)
