from __future__ import annotations

import netrc

import pytest

from airflow_provider_mlops.bento.index_access import IndexLogin, index_access, split_credentials


@pytest.mark.parametrize(
    ("url", "clean", "login", "password"),
    [
        ("https://me:s3cret@pypi.example.com/simple", "https://pypi.example.com/simple", "me", "s3cret"),
        (
            "https://me:p%40ss@pypi.example.com:8443/simple",
            "https://pypi.example.com:8443/simple",
            "me",
            "p@ss",
        ),
        ("https://tok3n@pypi.example.com/simple", "https://pypi.example.com/simple", "__token__", "tok3n"),
        (
            "corp=https://me:s3cret@pypi.example.com/simple",
            "corp=https://pypi.example.com/simple",
            "me",
            "s3cret",
        ),
    ],
)
def test_credentials_are_taken_out_of_a_url(url, clean, login, password):
    assert split_credentials(url) == (clean, IndexLogin("pypi.example.com", login, password))


@pytest.mark.parametrize("url", ["https://pypi.example.com/simple?x=1", "/srv/wheels", "https://h/p@1=2"])
def test_a_url_without_credentials_is_left_alone(url):
    assert split_credentials(url) == (url, None)


def test_a_child_sees_no_credentials_in_urls_and_finds_them_in_the_netrc(tmp_path):
    access = index_access(
        {"UV_EXTRA_INDEX_URL": "https://a:one@one.example.com/s https://two.example.com/s", "PATH": "/bin"}
    )
    assert access.environment["UV_EXTRA_INDEX_URL"] == "https://one.example.com/s https://two.example.com/s"
    assert access.secrets == ("one",)
    file = tmp_path / "netrc"
    file.write_text(access.netrc("machine three.example.com login c password three\n"))
    parsed = netrc.netrc(str(file))
    assert parsed.authenticators("one.example.com") == ("a", "", "one")
    assert parsed.authenticators("three.example.com") == ("c", "", "three")


def test_the_workers_other_variables_are_withheld():
    access = index_access(
        {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://a:b@c/d",
            "AWS_SECRET_ACCESS_KEY": "x",
            "UV_PUBLISH_TOKEN": "x",
            "PIP_TARGET": "/elsewhere",
            "HTTPS_PROXY": "http://proxy:3128",
            "UV_OFFLINE": "1",
        }
    )
    assert set(access.environment) == {"HTTPS_PROXY", "UV_OFFLINE"}


def test_the_index_of_a_connection_replaces_the_default_one():
    login = IndexLogin("corp.example.com", "ci", "s3cret")
    access = index_access(
        {"UV_INDEX_URL": "https://old.example.com", "PIP_INDEX_URL": "https://old.example.com"},
        index_url="https://corp.example.com/simple",
        login=login,
    )
    assert access.urls == ("https://corp.example.com/simple",)
    assert access.secrets == ("s3cret",)


def test_a_password_is_not_shown():
    access = index_access({"UV_INDEX_URL": "https://a:topsecret@one.example.com/s"})
    assert "topsecret" not in repr(access)
