"""Secrets in addresses: sent to their server, shown to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_web import HUB, HUB_PATH, FakeWeb, Page, make_manifest, make_wheel, offer_part, offer_parts
from junctor.serving.address import shown, shown_host, with_credentials_of
from junctor.serving.errors import PullFailed
from junctor.serving.sources import PullOptions
from junctor.serving.weights import PullEvent, pull

pytestmark = pytest.mark.anyio

BODY = bytes(range(256)) * 300
SECRET = "canary"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://me:canary@host:8443/simple?token=canary#canary", "https://host:8443/simple"),
        ("https://canary@host/", "https://host/"),
        ("file:///srv/index", "file:///srv/index"),
        ("me:canary@host", "an address without a host"),
        ("https://[me:canary@host", "an address that cannot be read"),
    ],
)
def test_what_is_shown_holds_no_secret(url: str, seen: str) -> None:
    assert shown(url) == seen
    assert SECRET not in shown_host(url)


@given(st.text(), st.text(st.characters(exclude_characters="@/?#\\"), min_size=1))
def test_no_user_name_or_password_is_ever_shown(user: str, password: str) -> None:
    marked = f"canary{password}"
    assert SECRET not in shown(f"https://{user.replace('/', '')}:{marked}@host/x")


def test_a_link_to_the_same_server_keeps_the_login_and_no_other_does() -> None:
    page = "https://me:pw@host/simple/a/"
    assert with_credentials_of(page, "https://host/files/a") == "https://me:pw@host/files/a"
    for other in (
        "https://cdn/files/a",
        "http://host/files/a",
        "https://host:8443/a",
        "https://you:x@host/a",
    ):
        assert with_credentials_of(page, other) == other
    assert with_credentials_of("https://host/simple", "https://host/a") == "https://host/a"


async def test_sources_behind_a_login_are_used_and_their_password_stays_secret(
    web: FakeWeb, tmp_path: Path
) -> None:
    """The hub has no such file, the index does; links without a login lead to the same server."""
    web.login = f"me:{SECRET}"
    offer_parts(web, BODY)
    for n in (1, 2):
        page = web.pages[f"/simple/tiny-part{n}/"]
        page.body = page.body.replace(b"../../files", f"{web.url}/files".encode())
    said = list[PullEvent]()
    options = PullOptions(hub_url=web.url_with_login, index_urls=(f"{web.url_with_login}/simple",))
    file = await pull(make_manifest(BODY), tmp_path, options=options, progress=said.append)
    assert file.read_bytes() == BODY
    assert SECRET not in repr(said)


async def test_no_failure_shows_a_password(web: FakeWeb, tmp_path: Path) -> None:
    """A wrong password, no package, a broken page, no server, no address: every source fails in words."""
    web.login = f"me:{SECRET}"
    web.pages["/nonsense/tiny-part1/"] = Page(b"{", kind="application/json")
    web.pages["/broken/tiny-part1/"] = Page(b"", status=500)
    web.pages[HUB_PATH] = Page(b"too short")
    offer_part(web, 1, make_wheel({"other": b""}))
    nowhere = f"http://me:{SECRET}@127.0.0.1:1"
    urls = [f"{web.url_with_login}/{name}" for name in ("empty", "nonsense", "broken", "simple")]
    urls += [nowhere, f"https://me:{SECRET}@[host", web.url.replace("://", f"://wrong:{SECRET}@")]
    said = list[PullEvent]()
    for hub in (web.url_with_login, nowhere, urls[-1], urls[-2]):
        options = PullOptions(hub_url=hub, index_urls=(*urls,), connect_timeout_s=1)
        with pytest.raises(PullFailed) as failed:
            await pull(make_manifest(BODY), tmp_path, options=options, progress=said.append)
        assert SECRET not in failed.value.message
        assert SECRET not in repr(failed.value.__cause__)
    assert SECRET not in repr(said)
    assert HUB.repo in repr(said)
