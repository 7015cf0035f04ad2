"""Options and plans of set-up, as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowgate.errors import SettingInvalid
from rowgate.rls.actions import identifier, literal
from rowgate.rls.plan import EXIT_NOT_PERMITTED, SCRIPT_START, Outcome, Plan, SetupOptions, Step, StepState


def step(title: str, state: StepState) -> Step:
    return Step(title, "because", "a superuser", f"SELECT '{title}';\n", state)


def test_a_plan_knows_how_it_stands() -> None:
    steps = (step("a", StepState.PRESENT), step("b", StepState.NEEDED), step("c", StepState.NOT_PERMITTED))
    plan = Plan("app", "owner", 180004, steps)
    assert not plan.is_complete
    assert plan.exit_code == EXIT_NOT_PERMITTED
    assert plan.in_state(StepState.NEEDED) == (steps[1],)
    script = plan.script()
    assert script.startswith(SCRIPT_START)
    assert script.endswith("COMMIT;\n")
    assert "SELECT 'a'" not in script
    assert script.index("SELECT 'b'") < script.index("SELECT 'c'")
    assert "SELECT 'b'" not in plan.script(StepState.NOT_PERMITTED)


def test_a_complete_plan_has_no_script() -> None:
    plan = Plan("app", "owner", 180004, (step("a", StepState.PRESENT),))
    assert plan.is_complete
    assert (plan.exit_code, plan.script()) == (0, "")


@pytest.mark.parametrize(
    "roles",
    [
        (),
        ("",),
        ("a", "a"),
        ("public",),
        ("none",),
        ("pg_read_all_data",),
        ("rowgate_owner",),
        ("a\nb",),
        ("a\0b",),
        ("$$; DROP SCHEMA auth; --",),
        ("x" * 41,),
        ("\ud800",),
    ],
)
def test_roles_that_cannot_be_exposed(roles: tuple[str, ...]) -> None:
    with pytest.raises(SettingInvalid):
        SetupOptions(roles=roles)


@given(st.text(max_size=50))
def test_any_text_is_a_role_or_refused(role: str) -> None:
    try:
        options = SetupOptions(roles=(role,))
    except SettingInvalid:
        return
    assert options.roles == (role,)
    assert "$" not in role
    assert len(f"rowgate_{role}_4294967295".encode()) <= 63


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 64])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(SettingInvalid):
        SetupOptions(schemas=(name,))
    with pytest.raises(SettingInvalid):
        SetupOptions(owners=(name,))


def test_passwords_are_not_shown() -> None:
    options = SetupOptions(control_password="s3cret")
    outcome = Outcome(Plan("app", "owner", 180004, ()), (), "s3cret")
    assert "s3cret" not in repr(options) + repr(outcome)


@pytest.mark.parametrize(("text", "quoted"), [("a", "'a'"), ("it's", "'it''s'"), ("a\\b", r"E'a\\b'")])
def test_literals(text: str, quoted: str) -> None:
    assert literal(text) == quoted


@pytest.mark.parametrize(("name", "quoted"), [("a", '"a"'), ('a"b', '"a""b"'), ("Ä %s", '"Ä %s"')])
def test_identifiers(name: str, quoted: str) -> None:
    assert identifier(name) == quoted
