from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercockpit.config.env_file import load_env, parse_env
from clustercockpit.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b", "b"),
        ("A: b", "b"),
        ("export A=b", "b"),
        ("A = b ", "b"),
        ("A=", ""),
        ("A=b c # comment", "b c"),
        ("A=b#c", "b#c"),
        ("A='b # c'", "b # c"),
        ("A='b\\n$B'", "b\\n$B"),
        ('A="b\\nc"', "b\nc"),
        ('A="b\\"c"', 'b"c'),
        ('A="two\nlines" # end', "two\nlines"),
        ("B=x\nA=${B}y$B", "xyx"),
        ("A=\\$B", "$B"),
        ('A="\\$B"', "$B"),
        ("A=$NOWHERE", ""),
        ("A=$HOME_OF", "from the environment"),
        ("# A=no\n\n  \nA=b\r\nB=c\r\n", "b"),
        ('A="kzfYrYy+TzpanWZHJ5qSdMj5uKUWgq74BWhQG6copP0="', "kzfYrYy+TzpanWZHJ5qSdMj5uKUWgq74BWhQG6copP0="),
        ("A=a=b", "a=b"),
    ],
)
def test_what_lines_mean(text: str, value: str) -> None:
    assert parse_env(text, {"HOME_OF": "from the environment"})["A"] == value


@pytest.mark.parametrize("text", ["A", "=b", "A='b", 'A="b', "A='b' c", "A B=c"])
def test_a_bad_line_is_named_without_its_content(text: str) -> None:
    with pytest.raises(ConfigurationError, match="line 2") as caught:
        parse_env(f"X=hunter2\n{text}", {})
    assert "hunter2" not in str(caught.value)


def test_the_environment_wins_even_if_empty(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SESSION_KEY=a\nOTHER=a\nTHIRD=a\n")
    environment = {"SESSION_KEY": "b", "OTHER": ""}
    assert load_env(environment, [tmp_path / "nowhere", tmp_path]) == tmp_path / ".env"
    assert environment == {"SESSION_KEY": "b", "OTHER": "", "THIRD": "a"}


def test_the_first_file_only_and_none_is_fine(tmp_path: Path) -> None:
    for folder, value in (("a", "1"), ("b", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / ".env").write_text(f"A={value}\nONLY_{folder.upper()}=x\n")
    environment: dict[str, str] = {}
    load_env(environment, [tmp_path / "a", tmp_path / "b"])
    assert environment == {"A": "1", "ONLY_A": "x"}
    assert load_env({}, [tmp_path]) is None


@settings(max_examples=80, deadline=None)
@given(st.text("ABab=:'\"\\$#{} \n\t", max_size=40))
def test_no_text_hangs_or_crashes(text: str) -> None:
    try:
        parse_env(text, {})
    except ConfigurationError as error:
        assert "line" in str(error)  # noqa: PT017


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(blacklist_characters="'\r\x00", blacklist_categories=("Cs",)), max_size=40))
def test_single_quotes_keep_everything(value: str) -> None:
    assert parse_env(f"A='{value}'\nB=2", {}) == {"A": value, "B": "2"}
