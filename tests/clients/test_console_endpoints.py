"""The console in front of ``rowgate serve``: several endpoints, each for whom it concerns; no owner; the allow-list."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.gateways import environment, running_gateway
from tests.clients.stack import Stack
from tests.plain_http import HTTP

HEADERS = {"HX-Request": "true"}


@pytest.fixture(scope="module")
def served(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A gateway with the endpoints ``one`` and ``two``, both in front of the stack's database."""
    variables = environment(
        "", ROWGATE_ENDPOINTS=f"one={stack.control_url} two={stack.control_url}", ROWGATE_ADMIN_PORT="0",
        ROWGATE_TCP_PORT="off", ROWGATE_STATEMENTS="authenticated=record",
        ROWGATE_ALLOWLIST_FILE=str(tmp_path_factory.mktemp("lists") / "list.json"),
    )  # fmt: skip
    with running_gateway(variables) as (_, ready):
        yield {**ready, "list": variables["ROWGATE_ALLOWLIST_FILE"]}


@pytest.fixture
def operator(served: dict[str, Any]) -> Iterator[httpx.Client]:
    """Whoever opened the link that the process printed, which is good once: the same session for all tests."""
    with httpx.Client(base_url=served["admin_url"], timeout=30) as client:
        if "cookies" not in served:
            client.get(served["console_url"])
            served["cookies"] = dict(client.cookies)
        client.cookies.update(served["cookies"])
        choose(client, "one")
        yield client


@pytest.fixture
def holder(served: dict[str, Any], stack: Stack) -> Iterator[httpx.Client]:
    """Whoever has an admin token of the endpoint ``one``."""
    with httpx.Client(base_url=served["admin_url"], timeout=30) as client:
        assert client.post("/sign-in", data={"token": stack.admin_token}).status_code == 403
        client.post("/sign-in", data={"token": stack.admin_token, "endpoint": "one"})
        yield client


def secret(client: httpx.Client) -> str:
    found = re.search(r'name="form_secret" value="([^"]+)"', client.get("/connect").text)
    assert found
    return found[1]


def choose(client: httpx.Client, name: str, page: str = "/connect") -> httpx.Response:
    return client.post("/endpoint", data={"form_secret": secret(client), "endpoint": name, "page": page})


def ask(served: dict[str, Any], stack: Stack, endpoint: str, text: str) -> None:
    headers = {
        "Neon-Connection-String": f"postgresql://authenticated@{endpoint}.localhost/neondb",
        "Authorization": f"Bearer {stack.tokens['alice']}",
    }
    assert HTTP.post(served["sql_url"], json={"query": text}, headers=headers).status_code == 200


def test_the_operator_opens_one_after_the_other(operator: httpx.Client) -> None:
    assert "one.localhost" in operator.get("/connect").text
    answer = choose(operator, "two", "/connect")
    assert (answer.status_code, answer.headers["location"]) == (303, "/connect")
    text = operator.get("/connect").text
    assert "two.localhost" in text
    assert "one.localhost" not in text
    assert "<h2>local</h2>" in operator.get("/authorize").text


@pytest.mark.parametrize("page", ["https://evil.example", "//evil.example", "/authorize/local/remove", ""])
def test_the_way_back_is_a_page_of_the_console(operator: httpx.Client, page: str) -> None:
    assert choose(operator, "two", page).headers["location"] == "/get-started"


def test_forms_of_the_endpoint_before_are_good_no_more(operator: httpx.Client) -> None:
    """Somebody changes to another endpoint in a second window, and sends the form that the first one still shows."""
    old = secret(operator)
    choose(operator, "two")
    answer = operator.post("/authorize/local/disable", data={"form_secret": old})
    assert (answer.status_code, "not from a page of your session" in answer.text) == (400, True)
    for name in ("three", "", "<b>"):
        assert choose(operator, name).status_code == 400


def test_a_token_of_one_endpoint_opens_no_other(holder: httpx.Client) -> None:
    assert "one.localhost" in holder.get("/connect").text
    assert 'action="/endpoint"' not in holder.get("/connect").text
    assert choose(holder, "two").status_code == 400
    assert "one.localhost" in holder.get("/connect").text


def test_requests_of_another_endpoint_are_not_shown(
    served: dict[str, Any], stack: Stack, operator: httpx.Client, holder: httpx.Client
) -> None:
    ask(served, stack, "one", "select 1 as of_the_first")
    ask(served, stack, "two", "select 1 as of_the_second")
    assert "as of_the_first" in holder.get("/activity").text
    assert "as of_the_second" not in holder.get("/activity").text
    choose(operator, "two")
    text = operator.get("/activity").text
    assert "as of_the_second" in text
    assert "as of_the_first" not in text
    path = re.search(r'href="(/activity/memory/\d+)"', text)
    assert path
    assert operator.get(path[1]).status_code == 200
    assert holder.get(path[1]).status_code == 400


def test_without_an_owner_the_sql_is_shown_and_not_run(stack: Stack, operator: httpx.Client) -> None:
    stack.owner("create table unsecured (id int)")
    try:
        form = {"form_secret": secret(operator), "rule": "table-without-rls", "object": "public.unsecured"}
        shown = operator.post("/tables/findings/preview", data=form, headers=HEADERS).text
        assert "ALTER TABLE public.unsecured ENABLE ROW LEVEL SECURITY;" in shown
        assert "as the owner of the database" in shown
        assert "Apply it" not in shown
        refused = operator.post("/tables/findings/apply", data={**form, "digest": "x"})
        assert refused.status_code == 400
    finally:
        stack.owner("drop table unsecured")


def test_the_keys_of_a_provider_are_fetched_again_and_rotated_by_nobody_here(operator: httpx.Client) -> None:
    form = {"form_secret": secret(operator)}
    renewed = operator.post("/authorize/local/renew", data=form, headers=HEADERS).text
    assert "Fetched now." in renewed
    assert re.search(r"\d usable keys?, fetched at", renewed)
    assert "Rotate its key" not in operator.get("/authorize").text
    assert operator.post("/authorize/local/rotate", data=form).status_code == 400


# --- the allow-list -----------------------------------------------------------------------------------------------


def boxes(text: str) -> dict[str, str]:
    """Of the recorded statements: text and the name of its box."""
    found = re.findall(r'name="([0-9a-f]{64}:authenticated)"(?: checked)?> ?<code>([^<]*)</code>', text)
    return {html.unescape(statement): name for name, statement in found}


def test_recorded_statements_are_approved_rejected_and_withdrawn(
    served: dict[str, Any], stack: Stack, operator: httpx.Client
) -> None:
    for text in ("select 1 as wanted", "select 2 as not_wanted", "select '<script>alert(1)</script>' as \"<b>\""):
        ask(served, stack, "one", text)
    page = operator.get("/settings").text
    assert "authenticated: records" in page
    recorded = boxes(page)
    assert {"select $1 as wanted", "select $1 as not_wanted", 'select $1 as "<b>"'} <= set(recorded)
    assert "<b>" not in page
    assert send(operator, "approve", recorded["select $1 as wanted"]) == "1 statement approved."
    assert send(operator, "reject", recorded["select $1 as not_wanted"]).startswith("1 statement rejected.")
    written = Path(served["list"]).read_text()
    assert "wanted" in written
    assert "not_wanted" not in written + Path(served["list"] + ".recorded").read_text()
    page = operator.get("/settings").text
    assert "Approved (1)" in page
    assert "select $1 as not_wanted" not in boxes(page)
    ask(served, stack, "one", "select 3 as a_third")  # what is written next does not bring the rejected one back
    assert "select $1 as not_wanted" not in boxes(operator.get("/settings").text)
    assert send(operator, "withdraw", boxes(page)["select $1 as wanted"]) == "1 statement taken off the allow-list."
    assert "wanted" not in Path(served["list"]).read_text()
    for action in ("approve", "reject", "withdraw"):
        form = {"form_secret": secret(operator), "0" * 64 + ":authenticated": "on"}
        assert operator.post(f"/settings/allowlist/{action}", data=form).status_code == 400
        assert operator.post(f"/settings/allowlist/{action}", data={"x": "on"}).status_code == 400


def send(client: httpx.Client, action: str, name: str) -> str:
    """What the page says after the form."""
    answer = client.post(f"/settings/allowlist/{action}", data={"form_secret": secret(client), name: "on"})
    assert answer.headers["location"] == "/settings#allowlist"
    said = re.search(r'<p class="notice good" role="status">(.*?) This process follows', client.get("/settings").text)
    assert said
    return said[1]


def test_the_lists_are_not_one_endpoints_business(holder: httpx.Client) -> None:
    assert 'id="allowlist"' not in holder.get("/settings").text
    for action in ("approve", "reject", "withdraw"):
        form = {"form_secret": secret(holder), "0" * 64 + ":authenticated": "on"}
        answer = holder.post(f"/settings/allowlist/{action}", data=form)
        assert "the whole gateway" in html.unescape(answer.text)
