from __future__ import annotations

import pytest

from airflow_provider_mlops.bento.secret_scan import find_credentials


def found(text, *secrets):
    return [str(finding) for finding in find_credentials([("f", text.encode())], secrets)]


@pytest.mark.parametrize(
    "text",
    [
        "ok\n--extra-index-url https://ci:hunter22@pypi.example.com/simple",
        'ok\nDSN = "postgresql+psycopg2://svc:Pa55w0rd!@db/prod"',
        "ok\ngit+https://glpat-abcdefghijklmnopqrst@gitlab.example.com/x.git",
    ],
)
def test_a_url_with_credentials_is_found_with_its_line(text):
    assert found(text) == ["f:2 (URL with credentials)"]


@pytest.mark.parametrize(
    "text",
    [
        "https://pypi.example.com/simple",
        "https://user:password@example.com",
        "https://${USER}:${TOKEN}@example.com",
        "f'https://{user}:{token}@example.com'",
        "https://ci:****@example.com",
        "git+ssh://git@github.com/x/y.git",
        "http://localhost:8080/a@b",
        "see https://example.com: mail a@b.example.com",
    ],
)
def test_what_only_looks_like_credentials_is_let_through(text):
    assert found(text) == []


def test_the_value_of_a_known_secret_is_found_even_in_binary_files():
    (finding,) = find_credentials([("f", b"\x00\n\xff" + b"abcdef" + b"\x00")], ["abcdef"])
    assert finding.line == 2


def test_a_secret_too_short_to_be_told_from_chance_is_not_searched():
    assert found("abc", "abc") == []


def test_a_finding_does_not_repeat_the_secret():
    assert "hunter22" not in found("https://ci:hunter22@h/s", "hunter22")[0]
