"""The registry side of the image store, against a real registry."""

from __future__ import annotations

import base64
import datetime as dt
import http.server
import io
import itertools
import json
import shutil
import socketserver
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_mlops.connection import ConnectionInfo
from airflow_provider_mlops.errors import (
    ConnectionIncomplete,
    CredentialsRejected,
    PermissionDenied,
    RateLimited,
    RemoteUnavailable,
)
from airflow_provider_mlops.oci.client import RegistryRepository
from airflow_provider_mlops.oci.copy import copy_image
from airflow_provider_mlops.oci.errors import DigestMismatch
from airflow_provider_mlops.oci.image_store import IMAGE_INDEX, ImageStore, Manifest, sha256_digest
from airflow_provider_mlops.oci.layout import LayoutRepository
from airflow_provider_mlops.oci.promotion import promote, tag_image
from airflow_provider_mlops.oci.publish import publish_bento, unpack_bento
from airflow_provider_mlops.oci.reference import Reference
from airflow_provider_mlops.oci.stores import open_store
from tests.servers.registry import Registry
from tests.unit.oci.store_contract import ImageStoreContract, put_image
from tests.unit.oci.test_publish import archive, bento

_names = itertools.count()
PASSWORD = "correct-horse-battery"
PASSWORD_BCRYPT = "$2b$04$abcdefghijklmnopqrstuupOWRSKKNe562z1DsLEArFuJDHVyRIMa"


def repository(server: Registry, **info: Any) -> ImageStore:
    """A repository that nobody has used yet."""
    connection = ConnectionInfo("registry", host=server.address, **info)
    return open_store(Reference.parse(f"{server.address}/team/r{next(_names)}"), connection)


@pytest.fixture
def store(registry_server: Registry) -> ImageStore:
    return repository(registry_server)


class TestRegistryContract(ImageStoreContract):
    pass


def test_all_pages_of_tags_are_read(registry_server: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_mlops.oci.client._PAGE", 3)
    store = repository(registry_server)
    names = [f"t{number}" for number in range(10)]
    tag_image(store, put_image(store, "a"), names)
    assert sorted(store.tags()) == names


def test_an_image_is_copied_inside_a_registry_without_moving_its_bytes(registry_server: Registry) -> None:
    source, target = repository(registry_server), repository(registry_server)
    digest = put_image(source, "a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            RegistryRepository, "read_blob", lambda self, blob: pytest.fail(f"{blob} was downloaded")
        )
        assert copy_image(source, target, digest) == digest
    promote(target, digest, "production")
    assert b"".join(target.read_blob(target.get_manifest(digest).data["layers"][0]["digest"])) == b"a"


def test_an_image_with_several_platforms_is_copied_from_a_folder(
    registry_server: Registry, tmp_path: Path
) -> None:
    source, target = LayoutRepository(tmp_path / "search"), repository(registry_server)
    part = source.get_manifest(put_image(source, "a"))
    entry = {"mediaType": part.media_type, "digest": part.digest, "size": len(part.content)}
    index = Manifest.of(
        json.dumps({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [entry]}).encode(), IMAGE_INDEX
    )
    source.put_manifest(index, "multi")
    assert copy_image(source, target, "multi") == index.digest
    assert target.get_manifest(index.digest) == index
    assert target.digest_of(part.digest) == part.digest


def test_what_the_other_repository_does_not_have_is_not_taken(registry_server: Registry) -> None:
    source, target = repository(registry_server), repository(registry_server)
    assert not target.take_blob("sha256:" + "0" * 64, source)


def test_a_bento_goes_through_a_registry(store: ImageStore, tmp_path: Path) -> None:
    image = publish_bento(store, archive(bento(tmp_path / "bento"), tmp_path / "bento.tar"))
    promote(store, image["digest"], "production")
    folder = unpack_bento(store, "production", tmp_path / "served")
    assert (folder / "src" / "service.py").read_text() == "x = 1\n"


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_the_published_image(store: ImageStore, tmp_path: Path) -> None:
    image = publish_bento(store, archive(bento(tmp_path / "bento"), tmp_path / "bento.tar"))
    done = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"docker://{image['repository']}:{image['tags'][0]}"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["Digest"] == image["digest"]


# --- credentials ---


@pytest.fixture(scope="module")
def basic_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    if Registry.missing():
        pytest.skip(str(Registry.missing()))
    users = tmp_path_factory.mktemp("auth") / "htpasswd"
    users.write_text(f"robot:{PASSWORD_BCRYPT}\n")
    settings = {"REGISTRY_AUTH_HTPASSWD_REALM": "tests", "REGISTRY_AUTH_HTPASSWD_PATH": str(users)}
    with Registry(settings) as server:
        yield server


def test_basic_credentials_are_sent_when_asked_for(basic_registry: Registry) -> None:
    store = repository(basic_registry, login="robot", password=PASSWORD)
    promote(store, put_image(store, "a"), "production")


@pytest.mark.parametrize("info", [{}, {"login": "robot", "password": "wrong-password"}])
def test_missing_and_wrong_credentials_are_named(basic_registry: Registry, info: dict[str, str]) -> None:
    store = repository(basic_registry, **info)
    with pytest.raises(CredentialsRejected) as caught:
        store.digest_of("v1")
    assert "wrong-password" not in str(caught.value)
    assert "'registry'" in str(caught.value)


class TokenService:
    """A token service as registries use it: checks Basic credentials, signs tokens for the asked scope.

    :param rights: what an account may do in any repository.
    """

    def __init__(self, folder: Path, rights: dict[str, list[str]]) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.certificate = folder / "token.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.chain = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
        self.rights = rights
        self.lifetime = 300

    def token(self, account: str, scopes: list[str]) -> str:
        import jwt

        access = []
        for scope in scopes:
            kind, name, wanted = scope.split(":")
            granted = [action for action in wanted.split(",") if action in self.rights[account]]
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(dt.datetime.now(dt.UTC).timestamp())
        claims = {
            "iss": "tests", "sub": account, "aud": "registry", "access": access, "jti": "1",
            "iat": now - 120, "nbf": now - 120, "exp": now + self.lifetime,
        }  # fmt: skip
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"x5c": [self.chain]})

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        header = handler.headers.get("Authorization", "")
        account, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query)
        if account not in self.rights or password != PASSWORD:
            reply(handler, 401, b"who are you")
            return
        reply(handler, 200, json.dumps({"token": self.token(account, query.get("scope", []))}).encode())


def reply(handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def serving(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """An HTTP server on loopback; yields host:port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            answer(self)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Threading(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True

    with Threading(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenService:
    return TokenService(
        tmp_path_factory.mktemp("tokens"), {"robot": ["pull", "push", "delete"], "reader": ["pull"]}
    )


@pytest.fixture(scope="module")
def token_registry(tokens: TokenService) -> Iterator[Registry]:
    if Registry.missing():
        pytest.skip(str(Registry.missing()))
    with serving(tokens.answer) as address:
        settings = {
            "REGISTRY_AUTH_TOKEN_REALM": f"http://{address}/token",
            "REGISTRY_AUTH_TOKEN_SERVICE": "registry",
            "REGISTRY_AUTH_TOKEN_ISSUER": "tests",
            "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE": str(tokens.certificate),
        }
        with Registry(settings) as server:
            yield server


def test_bearer_tokens_are_fetched_for_what_is_done(token_registry: Registry, tmp_path: Path) -> None:
    store = repository(token_registry, login="robot", password=PASSWORD)
    image = publish_bento(store, archive(bento(tmp_path / "bento"), tmp_path / "bento.tar"))
    promote(store, image["digest"], "production")
    assert store.digest_of("production") == image["digest"]


def test_a_token_that_ran_out_is_replaced(
    token_registry: Registry, tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The registry allows a minute for clocks that differ.
    monkeypatch.setattr(tokens, "lifetime", -90)
    store = repository(token_registry, login="robot", password=PASSWORD)
    with pytest.raises(CredentialsRejected):
        store.digest_of("v1")
    monkeypatch.setattr(tokens, "lifetime", 300)
    assert store.digest_of("v1") is None


def test_an_account_that_may_only_read_is_found_before_anything_is_pushed(token_registry: Registry) -> None:
    store = repository(token_registry, login="reader", password=PASSWORD)
    assert store.digest_of("v1") is None
    with pytest.raises((PermissionDenied, CredentialsRejected)):
        store.check_writable()


def test_the_token_services_refusal_is_named(token_registry: Registry) -> None:
    store = repository(token_registry, login="robot", password="wrong-password")
    with pytest.raises(CredentialsRejected, match="token service") as caught:
        store.digest_of("v1")
    assert "wrong-password" not in str(caught.value)


def test_credentials_are_not_shown() -> None:
    store = RegistryRepository("https://r.example.com", "x", login="robot", password=PASSWORD)
    assert PASSWORD not in repr(store) + repr(store._auth) + repr(vars(store))


def test_credentials_do_not_go_to_a_token_service_without_tls() -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        challenge = 'Bearer realm="http://tokens.example.com/t",service="s"'
        reply(handler, 401, b"", WWW_Authenticate=challenge)

    with serving(answer) as address:
        store = RegistryRepository(f"http://{address}", "x", login="robot", password=PASSWORD)
        with pytest.raises(ConnectionIncomplete, match="not https"):
            store.digest_of("v1")


def test_an_upload_that_is_sent_elsewhere_goes_without_credentials() -> None:
    seen: list[str | None] = []

    def elsewhere(handler: http.server.BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers.get("Authorization"))
        reply(handler, 204, b"")

    with serving(elsewhere) as other:

        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            if "Authorization" not in handler.headers:
                reply(handler, 401, b"", WWW_Authenticate='Basic realm="x"')
            else:
                reply(handler, 202, b"", Location=f"http://{other}/upload")

        with serving(answer) as address:
            RegistryRepository(f"http://{address}", "x", login="robot", password=PASSWORD).check_writable()
    assert seen == [None]


# --- bad days ---


class Flaky:
    """Passes requests on to a registry, after as many failures as wanted.

    :param failures: what happens to the next requests: a status, or ``"drop"`` for a closed connection
        *after* the registry has done its work.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.failures: list[int | str] = []
        self.headers: dict[str, str] = {}
        self.seen: list[str] = []
        self.damage = False

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.seen.append(handler.command)
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length) if length else None
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, int):
            reply(handler, failure, b"", **self.headers)
            return
        request = urllib.request.Request(
            f"{self.target}{handler.path}", data=body, method=handler.command, headers=dict(handler.headers)
        )
        try:
            response = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            content = response.read()
            if failure == "drop":
                handler.close_connection = True
                handler.connection.close()
                return
            handler.send_response(response.status)
            for name, value in response.headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(content[:-1] + b"?" if self.damage and content else content)


@pytest.fixture
def flaky(registry_server: Registry) -> Iterator[tuple[Flaky, RegistryRepository, list[float]]]:
    proxy = Flaky(registry_server.url)
    slept: list[float] = []
    with serving(proxy.answer) as address:
        yield (
            proxy,
            RegistryRepository(f"http://{address}", f"flaky{next(_names)}", sleep=slept.append),
            slept,
        )


FlakyRegistry = tuple[Flaky, RegistryRepository, list[float]]


@pytest.mark.parametrize("failure", [500, 502, 503, 429, "drop"])
def test_reading_is_tried_again(flaky: FlakyRegistry, failure: int | str) -> None:
    proxy, store, slept = flaky
    digest = put_image(store, "a")
    tag_image(store, digest, ["v1"])
    proxy.failures = [failure, failure]
    assert store.digest_of("v1") == digest
    assert len(slept) == 2
    proxy.failures = [failure]
    assert store.get_manifest("v1").digest == digest


@pytest.mark.parametrize("failure", [503, "drop"])
def test_a_tag_whose_answer_was_lost_is_written_again(flaky: FlakyRegistry, failure: int | str) -> None:
    proxy, store, _ = flaky
    manifest = store.get_manifest(put_image(store, "a"))
    proxy.failures = [failure]
    store.put_manifest(manifest, "v1")
    assert store.digest_of("v1") == manifest.digest


def test_an_upload_is_not_started_twice_by_itself(flaky: FlakyRegistry) -> None:
    proxy, store, _ = flaky
    content = b"layer"
    assert not store.has_blob(sha256_digest(content))
    proxy.failures = [404, "drop"]
    with pytest.raises(RemoteUnavailable):
        store.write_blob(sha256_digest(content), io.BytesIO(content))
    assert proxy.seen.count("POST") == 1
    store.write_blob(sha256_digest(content), io.BytesIO(content))
    assert store.has_blob(sha256_digest(content))


def test_a_registry_that_stays_down_is_named(flaky: FlakyRegistry) -> None:
    proxy, store, _ = flaky
    proxy.failures = [503] * 10
    with pytest.raises(RemoteUnavailable, match=store.repository):
        store.digest_of("v1")
    assert len(proxy.failures) == 6


def test_a_long_retry_after_is_left_to_the_tasks_retry(flaky: FlakyRegistry) -> None:
    proxy, store, slept = flaky
    proxy.failures = [429]
    proxy.headers = {"Retry-After": "120"}
    with pytest.raises(RateLimited) as caught:
        store.digest_of("v1")
    assert caught.value.delay == dt.timedelta(seconds=120)
    assert slept == []


def test_damaged_content_is_not_accepted(flaky: FlakyRegistry) -> None:
    proxy, store, _ = flaky
    digest = put_image(store, "a")
    layer = store.get_manifest(digest).data["layers"][0]["digest"]
    proxy.damage = True
    with pytest.raises(DigestMismatch):
        store.get_manifest(digest)
    with pytest.raises(DigestMismatch):
        b"".join(store.read_blob(layer))


def test_a_registry_that_is_not_there_is_named() -> None:
    store = RegistryRepository("http://127.0.0.1:9", "x", sleep=lambda seconds: None)
    with pytest.raises(RemoteUnavailable, match="127\\.0\\.0\\.1:9"):
        store.digest_of("v1")
