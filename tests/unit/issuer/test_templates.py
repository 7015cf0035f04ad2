"""JWT templates: what one may not say, and how they are kept."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import DataFolderUnusable, IssuerInputInvalid, TemplateUnknown
from rowgate.issuer.shortcodes import attributes_of
from rowgate.issuer.templates import RESERVED_CLAIMS, TEMPLATES_FILE, Template, Templates, record_of, template_from
from rowgate.issuer.users import FIRST_USERS

ALICE = FIRST_USERS[0]


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
    assert set(template.render(attributes_of(ALICE))) == set(claims)
    assert template_from(record_of(template)) == template
