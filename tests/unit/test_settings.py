"""Settings: precedence, conversion, refusals, and that no secret shows."""

from pathlib import Path

import pytest

from rowgate.errors import SettingInvalid
from rowgate.settings import Settings, describe, load


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rowgate.toml"
    file.write_text('port = 1\npool_size = 2\nqueue_length = 3\ncors_origins = ["https://a.example"]\n')
    environment = {"ROWGATE_PORT": "5", "ROWGATE_POOL_SIZE": "6", "PATH": "/bin", "ROWGATE_SOMETHING_ELSE": "x"}
    loaded = load(environment, file=file, overrides={"port": 7, "host": None})
    assert (loaded.port, loaded.pool_size, loaded.queue_length) == (7, 6, 3)
    assert loaded.cors_origins == ("https://a.example",)
    assert loaded.host == "127.0.0.1"


@pytest.mark.parametrize("word", ["1", "true", "YES", "on"])
def test_true_words(word: str) -> None:
    assert load({"ROWGATE_PASSWORD_ROLES": word}).password_roles is True


@pytest.mark.parametrize("word", ["0", "false", "No", "off", ""])
def test_false_words(word: str) -> None:
    assert load({"ROWGATE_PASSWORD_ROLES": word}).password_roles is False


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "many"), ("PORT", "-1"), ("PORT", "1.5"), ("PASSWORD_ROLES", "maybe"), ("POOL_SIZE", "0")],
)
def test_a_value_of_the_wrong_kind_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingInvalid) as refused:
        load({"ROWGATE_" + name: value})
    assert name.lower() in refused.value.message


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rowgate.toml"
    file.write_text("pol_size = 2\n")
    with pytest.raises(SettingInvalid, match="pol_size"):
        load({}, file=file)


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rowgate.toml"
    file.write_text("= 2\n")
    with pytest.raises(SettingInvalid, match="cannot read"):
        load({}, file=file)


def test_lists_are_separated_by_commas() -> None:
    origins = load({"ROWGATE_CORS_ORIGINS": "https://a.example, https://b.example"}).cors_origins
    assert origins == ("https://a.example", "https://b.example")


def test_secrets_do_not_show() -> None:
    assert "hunter2" not in repr(Settings(database_url="postgresql://u:hunter2@h/d"))


def test_every_setting_is_described() -> None:
    for row in describe():
        assert row.meaning.endswith("."), row.name
        assert row.environment_variable == "ROWGATE_" + row.name.upper()


def test_several_endpoints(tmp_path: Path) -> None:
    file = tmp_path / "rowgate.toml"
    file.write_text('[endpoints]\nep-a = "postgresql://a"\n')
    assert load({}, file=file).endpoints == (("ep-a", "postgresql://a"),)
    given = {"ROWGATE_ENDPOINTS": "ep-a=postgresql://u:p=q@a/d ep-b=postgresql://b"}
    assert load(given).endpoints == (("ep-a", "postgresql://u:p=q@a/d"), ("ep-b", "postgresql://b"))
    with pytest.raises(SettingInvalid, match="endpoints"):
        load({"ROWGATE_ENDPOINTS": "nothing"})


@pytest.mark.parametrize(("text", "port"), [("6000", 6000), ("0", 0), ("off", None), (" None ", None)])
def test_a_port_can_be_off(text: str, port: int | None, tmp_path: Path) -> None:
    assert load({"ROWGATE_TCP_PORT": text}).tcp_port == port
    file = tmp_path / "rowgate.toml"
    file.write_text("tcp_port = false\n")
    assert load({}, file=file).tcp_port is None
    assert load({}, file=file, overrides={"tcp_port": text}).tcp_port == port


def test_whoever_takes_any_http_port_takes_any_tcp_port() -> None:
    assert load({}).tcp_port == 5433
    assert load({"ROWGATE_PORT": "0"}).tcp_port == 0
    assert load({"ROWGATE_PORT": "0", "ROWGATE_TCP_PORT": "6000"}).tcp_port == 6000


@pytest.mark.parametrize("wrong", ["on", "-1", "port", ""])
def test_what_is_no_port(wrong: str) -> None:
    with pytest.raises(SettingInvalid, match="tcp_port"):
        load({"ROWGATE_TCP_PORT": wrong})
