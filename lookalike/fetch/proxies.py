"""The machine's proxies: kept away from loopback, and set aside where no HTTP client can use them.

httpx, which Prefect's clients and our downloads are made of, fails in its constructor for a proxy
whose address it does not understand, even if the request would bypass it. Such a proxy is taken out
of the environment, so that everything on this machine works, and remembered, so that a download
that would have gone through it is refused and does not silently go around it.
"""

import ipaddress
import os
import re
import sys
from urllib.parse import urlsplit

from lookalike.errors import DownloadError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Hosts and domains, with or without a port or scheme. For anything else httpx fails as it does for proxies.
_BYPASSED = re.compile(r"((https?|all)://)?[a-z0-9.*_-]+(:\d{1,5})?", re.IGNORECASE)
# In the environment, since child processes must know of it too.
_UNUSABLE = "LOOKALIKE_UNUSABLE_PROXIES"


def keep_loopback_direct() -> None:
    """Make this process and its children reach loopback directly, and everything else as the user wants.

    Rewrites the proxy variables of the environment; does nothing where there are none.
    """
    if sys.platform == "linux" and not any(name.lower().endswith("_proxy") for name in os.environ):
        return  # Before the import, which every command would wait for.
    from urllib.request import getproxies

    proxies = getproxies()
    wanted = {scheme: proxies.get(scheme) or proxies.get("all") for scheme in ("http", "https")}
    if not any(wanted.values()) and "no" not in proxies:
        return
    bypassed = [name.strip().strip("[]") for name in proxies.get("no", "").split(",")]
    bypassed = [name for name in bypassed if _BYPASSED.fullmatch(name) or _is_address(name)]
    # Both spellings: some libraries read only one, and the lower one hides the other from the rest.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*bypassed, *LOOPBACK]))
    for name in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
        del os.environ[name]
    usable = {scheme: address for scheme, address in wanted.items() if address and _is_usable(address)}
    # Set, even where they came from a system's own settings: with no_proxy set, libraries look at variables alone.
    os.environ.update({f"{scheme}_proxy": address for scheme, address in usable.items()})
    unusable = [scheme for scheme, address in wanted.items() if address and scheme not in usable]
    if unusable:
        os.environ[_UNUSABLE] = ",".join(unusable)


def check_proxy(url: str) -> None:
    """Raise DownloadError if the user wants a proxy for this URL that cannot be used."""
    from urllib.request import proxy_bypass

    parts = urlsplit(url)
    if parts.scheme in os.environ.get(_UNUSABLE, "").split(",") and not proxy_bypass(parts.netloc):
        raise DownloadError(
            f"the proxy for {parts.scheme} in the environment ({parts.scheme.upper()}_PROXY or ALL_PROXY) cannot be "
            "used; name one that begins with http://, or install socksio for one that begins with socks5://"
        )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False
    return True


def _is_usable(address: str) -> bool:
    import httpx

    try:
        # Without certificates, which take a while to read: only the address is asked about.
        httpx.HTTPTransport(proxy=address if "://" in address else f"http://{address}", verify=False).close()
    except (ValueError, ImportError, httpx.InvalidURL):
        return False
    return True
