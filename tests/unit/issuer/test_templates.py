"""JWT templates: what shortcodes stand for, and what a template may not say."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import DataFolderUnusable, IssuerInputInvalid, TemplateUnknown
from rowgate.issuer.templates import RESERVED_CLAIMS, TEMPLATES_FILE, Template, Templates, record_of, template_from
from rowgate.issuer.users import FIRST_USERS
from tests.unit.issuer.test_users import CAROL

ALICE = FIRST_USERS[0]


def rendered(value: Any, user: Any = ALICE) -> Any:
    return Template(name="t", claims={"x": value}).render(user)["x"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{{user.id}}", "user_alice"),
        ("{{ user.id }}", "user_alice"),
        ("{{user.email}}", "alice@example.com"),
        ("{{user.primary_email_address}}", "alice@example.com"),
        ("{{user.first_name}}", "Alice"),
        ("{{user.last_name}}", "Archer"),
        ("{{user.full_name}}", "Alice Archer"),
        ("{{user.username}}", None),
        ("{{user.public_metadata}}", {}),
        ("{{user.public_metadata.plan}}", None),
        ("{{org.id}}", None),
        ("{{user.unknown}}", None),
        ("{{unknown}}", None),
        ("{{user}}", None),
        ("{{}}", None),
        ("{{user.id.length}}", None),
        ("{{user.__class__}}", None),
        ("Hello {{user.first_name}}!", "Hello Alice!"),
        ("{{user.id}}/{{org.id}}", "user_alice/"),
        ("{{user.id}}{{user.id}}", "user_aliceuser_alice"),
        ("meta {{user.public_metadata}}", "meta {}"),
        ("{{user.username || user.first_name}}", "Alice"),
        ("{{user.username || 'nobody'}}", "nobody"),
        ('{{user.username||org.id||"x"}}', "x"),
        ("{{user.id || 'nobody'}}", "user_alice"),
        ("{ {user.id} }", "{ {user.id} }"),
        ("{{user.id", "{{user.id"),
        ("", ""),
        (1, 1),
        (None, None),
        (True, True),
        (["{{user.id}}", {"a": "{{org.id}}"}], ["user_alice", {"a": None}]),
        ({"{{user.id}}": "{{user.id}}"}, {"{{user.id}}": "user_alice"}),
    ],
)
def test_shortcodes(value: Any, expected: Any) -> None:
    assert rendered(value) == expected


def test_organization_and_metadata() -> None:
    assert [rendered(f"{{{{org.{name}}}}}", CAROL) for name in ("id", "name", "slug", "role")] == [
        "org_1", "One", "one", "org:admin",
    ]  # fmt: skip
    assert rendered("{{user.public_metadata.plan}}", CAROL) == "free"
    assert rendered("{{user.public_metadata}}", CAROL) == {"plan": "free"}
    assert rendered("{{user.last_name}}", CAROL) is None


def test_what_an_attribute_holds_is_not_read_as_a_shortcode() -> None:
    user = type(ALICE)(id="user_x", email="x@example.com", first_name="{{user.email}}")
    assert rendered("{{user.first_name}}", user) == "{{user.email}}"
    assert rendered("I am {{user.first_name}}", user) == "I am {{user.email}}"


@pytest.mark.parametrize("claim", sorted(RESERVED_CLAIMS))
def test_reserved_claims(claim: str) -> None:
    with pytest.raises(IssuerInputInvalid, match="claims") as caught:
        Template(name="t", claims={claim: "x"})
    assert claim in str(caught.value.detail)
    assert Template(name="t", claims={"nested": {claim: "x"}})


@pytest.mark.parametrize(
    "record",
    [{}, {"name": ""}, {"name": "a b"}, {"name": "../x"}, {"name": 1}, {"name": "t", "claims": []},
     {"name": "t", "claims": None}, {"name": "t", "lifetime": 0}, {"name": "t", "lifetime": True},
     {"name": "t", "lifetime": 1.5}, {"name": "t", "lifetime": "60"}, {"name": "t", "lifetime": 315_360_001},
     {"name": "t", "extra": 1}, {"name": "t", "claims": {"x": "y" * 9000}}, {"name": "t", "claims": {"x": "\0"}},
     {"name": "t", "claims": {"x": "\ud800"}}, {"name": "t", "claims": {"x": float("inf")}}],
)  # fmt: skip
def test_templates_that_cannot_be(record: dict[str, Any]) -> None:
    with pytest.raises(IssuerInputInvalid):
        template_from(record)


def test_claims_that_are_too_deep() -> None:
    deep: Any = {}
    for _ in range(5000):
        deep = {"x": deep}
    with pytest.raises(IssuerInputInvalid):
        Template(name="t", claims=deep)


def test_templates_are_kept_replaced_and_removed(tmp_path: Path) -> None:
    templates = Templates(tmp_path)
    assert templates.list() == ()
    first, second = Template(name="a", claims={"x": 1}), Template(name="b", lifetime=5)
    templates.put(first)
    templates.put(second)
    changed = templates.put(Template(name="a", claims={"x": 2}, lifetime=90))
    assert Templates(tmp_path).list() == (changed, second)
    assert Templates(tmp_path).find("a") == changed
    templates.remove("a")
    assert Templates(tmp_path).list() == (second,)
    for call in (templates.find, templates.remove):
        with pytest.raises(TemplateUnknown):
            call("a")


@pytest.mark.parametrize("content", ["", "[]", '{"templates": 1}', '{"templates": [{"name": ""}]}'])
def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / TEMPLATES_FILE).write_text(content)
    with pytest.raises(DataFolderUnusable):
        Templates(tmp_path)
    assert (tmp_path / TEMPLATES_FILE).read_text() == content


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text("{}user.id|' \"", max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_any_claims_are_rendered_or_refused(claims: dict[str, Any]) -> None:
    try:
        template = template_from({"name": "t", "claims": claims})
    except IssuerInputInvalid:
        return
    assert set(template.render(ALICE)) == set(claims)
    assert template_from(record_of(template)) == template
