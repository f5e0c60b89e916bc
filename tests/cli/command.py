"""What the fixture `junctor` is: call it with the words of a command line."""

from __future__ import annotations

from collections.abc import Callable

from click.testing import Result

Junctor = Callable[..., Result]
