"""What can go wrong when weights are fetched.

    JunctorError
    `- PullFailed        no source gave the file
       |- SourceFailed   one source did not: missing, unreachable, cut short, or not what it says it is
       |  `- WrongDigest its bytes are not the ones the manifest names
       `- NoSpace        the disk cannot hold it

A failing engine is `chat.EngineDown`.
"""

from __future__ import annotations

from junctor.chat import JunctorError


class PullFailed(JunctorError):
    """No source gave the file; the message names every source and why it did not."""

    code = "pull_failed"


class SourceFailed(PullFailed):
    """One source did not give the file; the next one is tried."""

    code = "source_failed"


class WrongDigest(SourceFailed):
    """The bytes are not the ones that were asked for. They have been removed."""

    code = "wrong_digest"


class NoSpace(PullFailed):
    """The disk cannot hold the download; no other source would help."""

    status = 507
    code = "no_space"
