import datetime
import gzip
import io
import ipaddress
import socket
import ssl
import subprocess
import sys
import threading

import pytest
from PIL import Image

from lookalike.config.sections import QueryConfig
from lookalike.errors import DownloadError, ImageError
from lookalike.fetch.addresses import is_public, parse_address
from lookalike.fetch.image import fetch_image_bytes
from lookalike.images.reading import open_image
from tests.servers import (
    LocalServer,
    content,
    drip,
    drip_headers,
    endless,
    html,
    lying_length,
    redirect,
    silent,
    status,
    without_length,
)

LOCAL = QueryConfig(allow_private_addresses=True, timeout_seconds=20, max_bytes=200_000)
HASTY = LOCAL.model_copy(update={"timeout_seconds": 0.4})


@pytest.fixture(scope="module")
def picture():
    stream = io.BytesIO()
    Image.effect_mandelbrot((60, 40), (-3, -2.5, 2, 2.5), 50).save(stream, "PNG")
    return stream.getvalue()


def only_first_loopback(address):
    return str(address) == "127.0.0.1"


def test_fetch_returns_the_bytes_of_the_image(server, picture):
    url = server.serve("/a.png", content(picture, "image/png"))
    assert fetch_image_bytes(url, LOCAL) == picture
    assert open_image(fetch_image_bytes(url, LOCAL)).size == (60, 40)


def test_fetch_names_the_host_and_asks_for_no_compression(server, picture):
    server.serve("/a.png", content(picture))
    fetch_image_bytes(server.url("/a.png", host="localhost"), LOCAL)
    headers = server.requests[0][1]
    assert headers["Host"] == f"localhost:{server.port}"
    assert headers["Accept-Encoding"] == "identity"


def test_fetch_quotes_odd_paths_and_keeps_the_query(server, picture):
    server.serve("/b%C3%A4r%20%26%20co.png", content(picture))
    assert fetch_image_bytes(server.url("/bär & co.png?size=5&x=a b").replace("& co", "%26 co"), LOCAL) == picture
    assert server.requests[0][0] == "/b%C3%A4r%20%26%20co.png?size=5&x=a%20b"


def test_fetch_accepts_an_answer_without_length(server, picture):
    assert fetch_image_bytes(server.serve("/a", without_length(picture)), LOCAL) == picture


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_fetch_follows_redirects(server, picture, code):
    server.serve("/a.png", content(picture))
    server.serve("/two", redirect("/a.png", code))
    assert fetch_image_bytes(server.serve("/one", redirect(server.url("/two"), code)), LOCAL) == picture


def test_fetch_stops_after_too_many_redirects(server):
    url = server.serve("/loop", redirect("/loop"))
    with pytest.raises(DownloadError, match="more than 3 redirects"):
        fetch_image_bytes(url, LOCAL)
    assert len(server.requests) == 4


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "//[bad/"])
def test_fetch_refuses_redirects_to_other_schemes(server, target):
    with pytest.raises(DownloadError, match=r"only http and https|not a valid URL"):
        fetch_image_bytes(server.serve("/go", redirect(target)), LOCAL)


def test_fetch_refuses_a_redirect_without_address(server):
    with pytest.raises(DownloadError, match="without saying where to go"):
        fetch_image_bytes(server.serve("/go", redirect("")), LOCAL)


def test_fetch_checks_the_address_again_on_a_redirect(server, picture):
    with LocalServer("127.0.0.2") as private:
        private.serve("/secret.png", content(picture))
        url = server.serve("/go", redirect(private.url("/secret.png")))
        with pytest.raises(DownloadError, match=r"127\.0\.0\.2, which is not a public address"):
            fetch_image_bytes(url, LOCAL, only_first_loopback)
        assert private.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://localhost/a.png",
        "http://2130706433/a.png",
        "http://0x7f.1/a.png",
        "http://0.0.0.0/a.png",
        "http://[::1]/a.png",
        "http://[::ffff:127.0.0.1]/a.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1:8080/",
        "https://192.168.1.1/",
        "http://[fe80::1]/",
    ],
)
def test_fetch_refuses_private_addresses(url):
    with pytest.raises(DownloadError, match="not a public address"):
        fetch_image_bytes(url, QueryConfig())


def test_private_addresses_are_refused_before_a_connection(server, picture):
    server.serve("/a.png", content(picture))
    with pytest.raises(DownloadError, match="not a public address"):
        fetch_image_bytes(server.url("/a.png"), LOCAL, is_public)
    assert server.requests == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("198.18.0.1", False),
        ("192.0.2.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("::127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
        ("2002:808:808::", True),
    ],
)
def test_is_public(text, expected):
    assert is_public(parse_address(text)) is expected


def test_name_is_resolved_once_and_the_checked_address_is_used(server, picture, monkeypatch):
    """A name server that gives a harmless address first and a private one later must gain nothing."""
    server.serve("/a.png", content(picture))
    answers = ["127.0.0.1", "127.0.0.2"]
    asked = []

    def rebinding(host, port, *_, **__):
        asked.append(host)
        address = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def plain_resolver(host, port, *rest, **named):
        return rebinding(host, port) if host == "rebind.test" else real(host, port, *rest, **named)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", plain_resolver)
    url = server.url("/a.png", host="rebind.test")
    assert fetch_image_bytes(url, LOCAL, only_first_loopback) == picture
    assert asked == ["rebind.test"]


def test_one_private_address_among_several_refuses_the_host(monkeypatch):
    def two_answers(_host, port, *_, **__):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", two_answers)
    with pytest.raises(DownloadError, match=r"10\.0\.0\.1, which is not a public address"):
        fetch_image_bytes("http://mixed.test/a.png", QueryConfig())


def test_next_address_is_tried_when_the_first_does_not_answer(server, picture, monkeypatch):
    def two_answers(_host, port, *_, **__):
        # Nothing listens at the first of them.
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.9", "127.0.0.1")]

    server.serve("/a.png", content(picture))
    monkeypatch.setattr(socket, "getaddrinfo", two_answers)
    assert fetch_image_bytes(server.url("/a.png", host="twice.test"), LOCAL) == picture


def test_name_resolution_keeps_to_the_time_limit(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait())
    try:
        with pytest.raises(DownloadError, match=r"not fetched within 0\.4 seconds"):
            fetch_image_bytes("http://slow-name-server.test/a.png", HASTY)
    finally:
        release.set()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "only http and https"),
        ("photo.jpg", "only http and https"),
        ("ftp://example.com/a.jpg", "not ftp"),
        ("file:///etc/passwd", "not file"),
        ("data:image/png;base64,AAAA", "not data"),
        ("http://", "names no host"),
        ("http:///a.png", "names no host"),
        ("http://example.com:22/", "port 22 is not allowed"),
        ("http://example.com:99999/", "not a valid URL"),
        ("http://user:secret@example.com/", "user name or password"),
        ("http://[::1/", "not a valid URL"),
        ("http://a..b/", "not a valid URL"),
        ("http://" + "a" * 70 + ".com/", "not a valid URL"),
        ("http://example.com/" + "a" * 5000, "longer than"),
        ("http://no-such-host.invalid/", "cannot be resolved"),
    ],
)
def test_fetch_refuses_bad_urls_in_one_line(url, message):
    with pytest.raises(DownloadError, match=message) as failure:
        fetch_image_bytes(url, QueryConfig())
    assert "\n" not in str(failure.value)
    assert "secret" not in str(failure.value)


def test_fetch_refuses_more_bytes_than_allowed(server, picture):
    url = server.serve("/a.png", content(picture + b"\0" * 300_000))
    with pytest.raises(DownloadError, match="more than the limit of 200000"):
        fetch_image_bytes(url, LOCAL)


def test_fetch_stops_reading_endless_data(server, picture):
    url = server.serve("/a.png", endless(picture))
    with pytest.raises(DownloadError, match="more than 200000 bytes"):
        fetch_image_bytes(url, LOCAL)


def test_fetch_notices_a_content_shorter_than_announced(server, picture):
    url = server.serve("/a.png", lying_length(picture, len(picture) + 1000))
    with pytest.raises(DownloadError, match="connection failed"):
        fetch_image_bytes(url, LOCAL)


def test_fetch_reads_no_more_than_announced(server, picture):
    url = server.serve("/a.png", lying_length(picture + b"more", len(picture)))
    assert fetch_image_bytes(url, LOCAL) == picture


@pytest.mark.parametrize("reply", [drip(b"\x89PNG\r\n\x1a\n" + b"\0" * 60_000), drip_headers(), silent()])
def test_fetch_keeps_to_its_time_however_slowly_the_server_drips(server, reply):
    with pytest.raises(DownloadError, match=r"not fetched within 0\.4 seconds"):
        fetch_image_bytes(server.serve("/slow", reply), HASTY)


def test_the_time_limit_covers_all_redirects_together(server):
    def slow_redirect(handler):
        handler.server.closing.wait(0.15)
        redirect("/again")(handler)

    patient = HASTY.model_copy(update={"max_redirects": 50})
    with pytest.raises(DownloadError, match=r"not fetched within 0\.4 seconds"):
        fetch_image_bytes(server.serve("/again", slow_redirect), patient)


@pytest.mark.parametrize("name", ["gzip", "br", "deflate"])
def test_fetch_refuses_compressed_answers(server, name):
    bomb = gzip.compress(b"\0" * 10_000_000)
    url = server.serve("/a.png", content(bomb, "image/png", Content_Encoding=name))
    with pytest.raises(DownloadError, match=f"{name}-compressed"):
        fetch_image_bytes(url, LOCAL)


@pytest.mark.parametrize("reply", [html(), content(b"<!DOCTYPE html><html></html>", "image/jpeg")])
def test_fetch_names_a_web_page_as_such(server, reply):
    with pytest.raises(ImageError, match="HTML page; give the address of the picture itself"):
        fetch_image_bytes(server.serve("/page", reply), LOCAL)


def test_fetch_refuses_what_is_no_image_before_reading_all_of_it(server):
    url = server.serve("/a.jpg", endless(b"just some text " * 100))
    with pytest.raises(ImageError, match="it is text"):
        fetch_image_bytes(url, LOCAL)


def test_fetch_refuses_an_empty_answer(server):
    with pytest.raises(ImageError, match="empty"):
        fetch_image_bytes(server.serve("/a.jpg", content(b"")), LOCAL)


@pytest.mark.parametrize(
    ("code", "message"), [(404, "404 Not Found"), (500, "500 Internal"), (206, "206"), (299, "299")]
)
def test_fetch_reports_the_servers_status(server, code, message):
    with pytest.raises(DownloadError, match=message):
        fetch_image_bytes(server.serve("/a.jpg", status(code)), LOCAL)


def test_fetch_reports_a_refused_connection():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.png"
        with pytest.raises(DownloadError, match="connection failed"):
            fetch_image_bytes(url, LOCAL)


def test_fetch_reports_garbage_instead_of_http(server):
    url = server.serve("/a", lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n"))
    with pytest.raises(DownloadError, match="connection failed"):
        fetch_image_bytes(url, LOCAL)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of its own for localhost, in one file with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls_server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with LocalServer(tls=context) as running:
        yield running


def test_https_verifies_the_name_and_not_the_address(tls_server, certificate, picture, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls_server.serve("/a.png", content(picture))
    assert fetch_image_bytes(tls_server.url("/a.png", host="localhost"), LOCAL) == picture
    with pytest.raises(DownloadError, match="certificate is not trusted"):
        fetch_image_bytes(tls_server.url("/a.png", host="127.0.0.1"), LOCAL)


def test_https_refuses_an_unknown_certificate(tls_server, picture):
    tls_server.serve("/a.png", content(picture))
    with pytest.raises(DownloadError, match="certificate is not trusted"):
        fetch_image_bytes(tls_server.url("/a.png", host="localhost"), LOCAL)


def test_resolved_addresses_are_those_of_the_system():
    assert ipaddress.ip_address("127.0.0.1") in map(
        parse_address, (entry[4][0] for entry in socket.getaddrinfo("localhost", 80))
    )


def test_importing_the_search_loads_no_network_library():
    script = "import sys, lookalike.search; print({'httpx', 'httpcore', 'ssl', 'torch'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
