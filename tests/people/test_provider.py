"""A union's own identity provider: oidc-provider-mock, a real OpenID Connect provider that others wrote."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pytest
from authlib.integrations.flask_client import OAuth

from web import signing
from web.settings import UnsafeSetting, read

M1, M5 = "13800000001", "13800000005"


@pytest.fixture(scope="module")
def issuer():
    users = [
        {"sub": "wang", "phone_number": M1},
        {"sub": "other-union", "phone_number": M5},
        {"sub": "stranger", "phone_number": "13900009999"},
    ]
    claims = [word for user in users for word in ("--user-claims", json.dumps(user))]
    for _ in range(3):  # a free port may be taken by another before the provider listens there
        server, address = start_provider(claims)
        if server is not None:
            break
    assert server is not None, "the provider did not start"
    yield address
    server.terminate()
    server.wait(10)


def start_provider(claims):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    command += ["--require-nonce", "true", *claims]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{address}/.well-known/openid-configuration", timeout=1).close()
            if server.poll() is None:
                return server, address
        except OSError:
            time.sleep(0.1)
        if server.poll() is not None:
            return None, address
    server.kill()
    server.wait(10)
    return None, address


@pytest.fixture
def provided(world, issuer, monkeypatch):
    """The application with the provider of union U1."""
    settings = world.app.config["HUIGONG"]
    provider = {
        "slug": "hospital",
        "name": "医院统一账号",
        "union_code": "U1",
        "issuer": issuer,
        "client_id": "huigong",
        "client_secret": "secret",
        "claim": "phone_number",
    }
    world.app.config["HUIGONG"] = settings.__class__(**{**settings.__dict__, "oidc": (provider,)})
    # The library keeps a client it made once; the provider listens elsewhere when it is started again.
    monkeypatch.setattr(signing, "oauth", OAuth())
    signing.install(world.app)
    yield world
    world.app.config["HUIGONG"] = settings


class Fields(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = {}

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        if tag == "input" and named.get("name"):
            self.found[named["name"]] = named.get("value") or ""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def at_provider(address, subject):
    """Authorize as a person would on the provider's page; return where it sends the browser."""
    opener = urllib.request.build_opener(NoRedirect)
    with opener.open(address) as page:
        fields = Fields()
        fields.feed(page.read().decode())
    form = urlencode({**fields.found, "sub": subject}).encode()
    try:
        opener.open(address, data=form).close()
    except urllib.error.HTTPError as answer:
        location = answer.headers["Location"]
        answer.close()
        return urljoin(address, location)
    raise AssertionError("the provider did not send the browser back")


def through(world, subject, client=None):
    client = client or world.app.test_client()
    leave = client.get("/sign-in/with/hospital")
    back = urlsplit(at_provider(leave.location, subject))
    return client, client.get(f"{back.path}?{back.query}")


def test_a_member_signs_in_with_pkce_and_nonce(provided):
    client = provided.app.test_client()
    assert "医院统一账号" in client.get("/sign-in").text
    asked = parse_qs(urlsplit(client.get("/sign-in/with/hospital").location).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["response_type"] == ["code"]
    assert asked["nonce"][0]
    assert asked["state"][0]
    client, answer = through(provided, "wang")
    assert answer.status_code == 303
    assert client.get("/orders").status_code == 200
    assert client.get("/admin/").status_code == 403


@pytest.mark.parametrize("subject", ["other-union", "stranger"])
def test_a_provider_speaks_for_its_own_unions_members_only(provided, subject):
    client, answer = through(provided, subject)
    assert answer.location == "/sign-in"
    assert client.get("/orders").status_code == 302
    assert "没有找到与此账号对应的会员" in client.get("/sign-in").text


def test_an_answer_nobody_asked_for_signs_nobody_in(provided):
    asking = provided.app.test_client()
    back = urlsplit(at_provider(asking.get("/sign-in/with/hospital").location, "wang"))
    victim = provided.app.test_client()
    answer = victim.get(f"{back.path}?{back.query}")
    assert answer.location == "/sign-in"
    assert victim.get("/orders").status_code == 302


def test_an_answer_used_twice_signs_nobody_in(provided):
    client = provided.app.test_client()
    back = urlsplit(at_provider(client.get("/sign-in/with/hospital").location, "wang"))
    assert client.get(f"{back.path}?{back.query}").status_code == 303
    other = provided.app.test_client()
    assert other.get(f"{back.path}?{back.query}").location == "/sign-in"


def test_an_unknown_provider_is_not_found(provided):
    assert provided.app.test_client().get("/sign-in/with/nobody").status_code == 404


@pytest.mark.parametrize(
    "text", ["{}", "[{}]", "not json", '[{"slug": "a/b", "name": "", "union_code": "", "issuer": "", "client_id": ""}]']
)
def test_a_provider_that_is_not_described_whole_is_refused_by_name(text):
    with pytest.raises(UnsafeSetting, match="HUIGONG_OIDC"):
        read({"HUIGONG_OIDC": text if text[0] in "[{" else "/nowhere/" + text})
