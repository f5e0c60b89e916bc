"""Addresses of servers that may hold a secret: how to show them, and how to carry the secret on."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def shown(url: str) -> str:
    """An address for people to read: without user name, password, query or fragment, which may be secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be read"
    host = parts.netloc.rpartition("@")[2]
    if not host and parts.scheme != "file":
        return "an address without a host"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def shown_host(url: str) -> str:
    """Host and port alone, for a message about the server as a whole."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or shown(url)
    except ValueError:
        return shown(url)


def with_credentials_of(page_url: str, url: str) -> str:
    """A link of a page, with the page's user name and password if it leads to the same server.

    As pip does it: an index that asks for a password links to its files without.
    """
    page, link = urlsplit(page_url), urlsplit(url)
    userinfo, mark, server = page.netloc.rpartition("@")
    if not mark or (link.scheme, link.netloc) != (page.scheme, server):
        return url
    return urlunsplit(link._replace(netloc=f"{userinfo}@{server}"))
