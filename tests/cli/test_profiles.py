"""`crewline profiles`, and which service and key a command takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewline.cli import configurations
from crewline.cli.configurations import Place
from crewline.cli.failures import CliError
from tests.cli.commands import Command
from tests.cli.servers import Answer, ScriptedService

PRODUCTION = "https://example.com/prod"
STAGING = "https://staging.example.com"


def place(url: str | None = None, profile: str | None = None, **environ: str) -> Place:
    return configurations.choose(url, profile, environ)


def test_without_a_file_the_service_is_the_local_one() -> None:
    assert place() == Place(url="http://127.0.0.1:2024")


def test_the_first_profile_is_the_default_and_another_can_become_it(command: Command) -> None:
    command("profiles", "set", "production", "--url", PRODUCTION + "/")
    command("profiles", "set", "staging", "--url", STAGING)
    assert place().url == PRODUCTION
    assert command("profiles", "use", "staging").code == 0
    assert place().url == STAGING
    assert place(profile="production").url == PRODUCTION
    assert place(CREWLINE_PROFILE="production").url == PRODUCTION
    listed = command("profiles", "list", "--json").json
    assert listed == [
        {"name": "production", "url": PRODUCTION, "api_key": False, "default": False},
        {"name": "staging", "url": STAGING, "api_key": False, "default": True},
    ]


def test_what_is_typed_wins_over_the_environment_and_that_over_the_default_profile(command: Command) -> None:
    command("profiles", "set", "production", "--url", PRODUCTION)
    assert place(profile="production", CREWLINE_URL=STAGING).url == PRODUCTION
    assert place(CREWLINE_URL=STAGING, CREWLINE_PROFILE="production").url == STAGING
    assert place(CREWLINE_URL=STAGING).url == STAGING
    assert place("http://127.0.0.1:9", CREWLINE_URL=STAGING).url == "http://127.0.0.1:9"


def test_a_key_goes_to_its_own_url_alone(command: Command) -> None:
    command("profiles", "set", "production", "--url", PRODUCTION, "--key", stdin="crewline_key\n")
    assert place().api_key == "crewline_key"
    assert place(PRODUCTION + "/").api_key == "crewline_key"
    assert place(STAGING).api_key == ""
    assert place(CREWLINE_URL=STAGING).api_key == ""
    assert place(STAGING, "production").api_key == ""
    assert place(STAGING, CREWLINE_API_KEY="other").api_key == "other"
    assert place(CREWLINE_API_KEY="other").api_key == "other"


def test_the_key_for_a_url_is_found_where_it_is_kept(command: Command) -> None:
    command("profiles", "set", "local", "--url", "http://127.0.0.1:9")
    command("profiles", "set", "production", "--url", PRODUCTION, "--key", stdin="crewline_key\n")
    found = Place(url=PRODUCTION, api_key="crewline_key", key_from="profile production")
    assert place(PRODUCTION) == place(CREWLINE_URL=PRODUCTION) == found
    assert place(PRODUCTION, "local").api_key == ""
    command("profiles", "set", "admin", "--url", PRODUCTION, "--key", stdin="crewline_admin\n")
    assert place(PRODUCTION).api_key == ""
    assert place(PRODUCTION, "admin").api_key == "crewline_admin"


def test_a_file_that_is_a_link_stays_one(command: Command, config: Path, tmp_path: Path) -> None:
    config.parent.mkdir(parents=True)
    (tmp_path / "kept.toml").touch()
    config.symlink_to(tmp_path / "kept.toml")
    command("profiles", "set", "production", "--url", PRODUCTION)
    assert config.is_symlink()
    assert PRODUCTION in (tmp_path / "kept.toml").read_text()


def test_a_profile_that_moves_loses_its_key_and_says_so(command: Command, config: Path) -> None:
    command("profiles", "set", "production", "--url", PRODUCTION, "--key", stdin="crewline_key\n")
    assert command("profiles", "set", "production", "--url", PRODUCTION).err == ""
    assert place().api_key == "crewline_key"
    moved = command("profiles", "set", "production", "--url", STAGING)
    assert "is gone; add --key" in moved.err
    assert "crewline_key" not in config.read_text()


def test_no_key_is_ever_shown(command: Command) -> None:
    command("profiles", "set", "production", "--url", PRODUCTION, "--key", stdin="crewline_key\n")
    shown = command("profiles", "list").out + command("profiles", "list", "--json").out
    assert "crewline_key" not in shown + repr(place()) + repr(configurations.read())


def test_the_file_is_for_its_owner_alone_and_keeps_its_comments(command: Command, config: Path) -> None:
    config.parent.mkdir(parents=True)
    config.write_text('# my services\ndefault = "a" # mine\n[profiles.a]\nurl = "http://127.0.0.1:1"\n')
    config.chmod(0o644)
    command("profiles", "set", "production", "--url", PRODUCTION, "--key", stdin="crewline_key\n")
    assert config.stat().st_mode & 0o777 == 0o600
    assert "# my services" in config.read_text()
    assert "# mine" in config.read_text()
    assert [file.name for file in config.parent.iterdir()] == ["config.toml"]


def test_a_profile_that_is_deleted_is_the_default_no_more(command: Command) -> None:
    command("profiles", "set", "production", "--url", PRODUCTION)
    assert command("profiles", "delete", "production").code == 0
    assert place().url == "http://127.0.0.1:2024"
    assert "There is no profile" in command.refused(3, "profiles", "delete", "production")


def test_a_profile_that_is_not_there_is_named_with_those_that_are(command: Command) -> None:
    command("profiles", "set", "production", "--url", PRODUCTION)
    said = command.refused(3, "assistants", "list", "--profile", "staging")
    assert "'staging'" in said
    assert "production" in said


@pytest.mark.parametrize(
    "url",
    [
        "example.com",
        "ftp://example.com",
        "http://",
        "https://key@example.com",
        "http://x:99999",
        "http://x?a=b",
    ],
)
def test_what_is_no_url_of_a_service_is_refused(command: Command, url: str) -> None:
    assert "is no URL of a service" in command.refused(2, "profiles", "set", "a", "--url", url)
    assert "is no URL of a service" in command.refused(2, "assistants", "list", "--url", url)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("profiles = 1", "every profile a table"),
        ("default = 1", "`default` is a name"),
        ("[profiles.a]", "needs a `url`"),
        ("[profiles.a]\nurl = 1", "needs a `url`"),
        ("[profiles", "is not valid TOML"),
    ],
)
def test_a_broken_file_is_one_line(command: Command, config: Path, text: str, said: str) -> None:
    config.parent.mkdir(parents=True)
    config.write_text(text)
    assert said in command.refused(2, "assistants", "list")


def test_a_key_that_no_header_can_carry_is_refused(command: Command) -> None:
    said = command.refused(2, "profiles", "set", "a", "--url", PRODUCTION, "--key", stdin="crewline key\n")
    assert "characters that no key has" in said
    with pytest.raises(CliError, match="CREWLINE_API_KEY"):
        place(CREWLINE_API_KEY="ключ")


def test_a_request_carries_the_key_of_its_profile_and_none_elsewhere(
    command: Command, scripted_service: ScriptedService
) -> None:
    scripted_service.answer("POST /assistants/search", Answer(200, []))
    command("profiles", "set", "mine", "--url", scripted_service.url, "--key", stdin="crewline_key\n")
    command("assistants", "list")
    command("profiles", "set", "other", "--url", PRODUCTION, "--key", stdin="crewline_other\n")
    command("assistants", "list", "--profile", "other", "--url", scripted_service.url)
    first, second = scripted_service.asked
    assert first.headers["authorization"] == "Bearer crewline_key"
    assert "authorization" not in second.headers


@pytest.mark.parametrize("stdin", ["", "\n"])
def test_a_key_that_nobody_gave_is_not_kept_as_none(command: Command, config: Path, stdin: str) -> None:
    command.refused(2, "profiles", "set", "a", "--url", PRODUCTION, "--key", stdin=stdin)
    assert not config.exists()


def test_a_key_that_others_may_read_is_sent_with_a_warning(
    command: Command, config: Path, scripted_service: ScriptedService
) -> None:
    scripted_service.answer("POST /assistants/search", Answer(200, []))
    command("profiles", "set", "mine", "--url", scripted_service.url, "--key", stdin="crewline_key\n")
    assert command("assistants", "list").err == ""
    config.chmod(0o644)
    assert (
        command("assistants", "list").err
        == f"Warning: Others can read the API keys in {config}; chmod 600 it.\n"
    )
    command("profiles", "use", "mine")
    assert command("assistants", "list").err == ""


@pytest.mark.parametrize(
    ("url", "key", "warned"),
    [
        ("http://example.com", "crewline_key", True),
        ("http://example.com", "", False),
        ("https://example.com", "crewline_key", False),
        ("http://127.0.0.1:2024", "crewline_key", False),
    ],
)
def test_a_key_that_goes_unencrypted_goes_with_a_warning(url: str, key: str, warned: bool) -> None:
    place = configurations.choose(url, None, {"CREWLINE_API_KEY": key})
    assert bool([*configurations.cautions(place)]) == warned


def test_without_a_home_folder_it_says_which_variable_names_one(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert "set HOME or XDG_CONFIG_HOME" in command.refused(2, "profiles", "list")
