import os
from urllib.request import getproxies, proxy_bypass

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import DownloadError
from lookalike.fetch.download import download
from lookalike.fetch.proxies import check_proxy, keep_loopback_direct
from tests.servers import LocalServer, content

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def environment(monkeypatch):
    """Set proxy variables, all others removed; everything is as before after the test."""
    before = dict(os.environ)

    def set_proxies(**variables: str) -> None:
        for name in list(os.environ):
            if name.lower() in NAMES:
                del os.environ[name]
        os.environ.pop("LOOKALIKE_UNUSABLE_PROXIES", None)
        os.environ.update(variables)

    yield set_proxies
    os.environ.clear()
    os.environ.update(before)


def test_without_proxies_nothing_is_touched(environment):
    environment()
    before = dict(os.environ)
    keep_loopback_direct()
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    "address", ["http://proxy:3128", "proxy:3128", "socks5://proxy:1", "socks://proxy:1", "foo://::bad::"]
)
def test_loopback_is_direct_and_every_client_can_be_made(environment, name, address):
    environment(**{name: address, "no_proxy": "example.com,[fd00::1],*.corp, 10.0.0.0/8,bad:entry:"})
    keep_loopback_direct()
    for host in ("127.0.0.1:4200", "localhost:4200"):
        assert proxy_bypass(host)
    bypassed = "example.com,fd00::1,*.corp,10.0.0.0/8,127.0.0.1,localhost,::1"
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == bypassed
    with LocalServer() as server, httpx.Client(verify=False) as client:
        server.serve("/x", content(b"yes"))
        assert client.get(server.url("/x")).content == b"yes"


def test_the_users_proxies_still_serve_other_hosts(environment):
    environment(HTTPS_PROXY="http://proxy:3128", ALL_PROXY="http://other:1")
    keep_loopback_direct()
    assert {scheme: getproxies().get(scheme) for scheme in ("http", "https", "all")} == {
        "http": "http://other:1",
        "https": "http://proxy:3128",
        "all": None,
    }
    check_proxy("https://example.com/x")


def test_a_proxy_that_cannot_be_used_is_not_gone_around(environment, tmp_path):
    environment(ALL_PROXY="socks://proxy:1", no_proxy="example.com")
    keep_loopback_direct()
    keep_loopback_direct()  # As a child process does.
    check_proxy("https://example.com/x")
    with pytest.raises(DownloadError, match=r"the proxy for https in the environment .* cannot be used"):
        check_proxy("https://elsewhere.org/x")
    with pytest.raises(DownloadError, match=r"the proxy for https .*socksio"):
        download("https://elsewhere.org/x", tmp_path / "x", {})


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20), min_size=4, max_size=4))
def test_no_environment_keeps_clients_from_being_made(values):
    before = dict(os.environ)
    try:
        os.environ.update(zip(NAMES, values, strict=True))
        keep_loopback_direct()
        httpx.Client(verify=False).close()
        if any(values[:3]):
            assert proxy_bypass("127.0.0.1")
    finally:
        os.environ.clear()
        os.environ.update(before)
