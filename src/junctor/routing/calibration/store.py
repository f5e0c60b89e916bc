"""Where calibrations are kept, and all SQL for them. One of a kind is current; the older ones stay.

A document says what it was learnt of: a ladder or abilities hold for the models that stood in the pool then,
not for others that have taken their names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, get_args

import msgspec

from junctor.chat import ModelCard
from junctor.pool.vote import Vote
from junctor.routing.abilities import Abilities, identity_of, parse_abilities
from junctor.routing.calibration.judges import Judges, match_judges, parse_judges
from junctor.routing.calibration.ratings import RatedVotes, parse_rated_votes, votes_among
from junctor.routing.calibration.votes import Votes, by_members, fit_to, parse_votes
from junctor.routing.errors import CannotCalibrate
from junctor.routing.ladder import Ladder, models_of, parse_ladder
from junctor.store.database import Database
from junctor.store.ids import new_id

log = logging.getLogger(__name__)

Kind = Literal["ladder", "abilities", "votes", "rated votes", "judges", "outcomes"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_INSERT = """
INSERT INTO calibrations (id, created_at, kind, is_current, document)
VALUES (:id, :created_at, :kind, FALSE, :document)
"""
_USE = "UPDATE calibrations SET is_current = (id = :id) WHERE kind = :kind"
_LIST = """
SELECT id, created_at, kind, is_current, document FROM calibrations WHERE kind <> 'outcomes'
ORDER BY created_at, id
"""
_FIND = "SELECT id, created_at, kind, is_current, document FROM calibrations WHERE id = :id"
_CURRENT = "SELECT id, document FROM calibrations WHERE kind = :kind AND is_current"
_COUNT = "SELECT count(*) AS count FROM calibrations WHERE kind = :kind"


class StoredLadder(msgspec.Struct, frozen=True, kw_only=True):
    """The document of the kind `ladder`."""

    ladder: msgspec.Raw
    identities: dict[str, str]
    "Of each model on it, what answered under that name (`abilities.identity_of`)."


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """One row."""

    id: str
    created_at: str
    kind: Kind
    is_current: bool
    document: str
    "JSON."


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force, as the router takes it."""

    ladder: Ladder | None = None
    identities: Mapping[str, str] = {}
    "Of the ladder's models."
    abilities: Abilities | None = None
    votes: Votes | None = None
    rated: RatedVotes | None = None
    judges: Judges | None = None

    def misfits(self, cards: Sequence[ModelCard]) -> list[str]:
        """The ladder's models that are not in the pool, or are not what they were."""
        there = {card.name: identity_of(card) for card in cards}
        models = models_of(self.ladder) if self.ladder else ()
        return [name for name in models if there.get(name) != self.identities.get(name, "")]

    def ladder_for(self, cards: Sequence[ModelCard]) -> Ladder | None:
        """The ladder, when every model on it stands in the pool and is what it was; else the log says."""
        if gone := self.misfits(cards):
            log.warning(
                "the ladder in force is not used: %s changed or left the pool; run `junctor calibrate` again",
                ", ".join(gone),
            )
        return None if gone else self.ladder

    def abilities_for(self, cards: Sequence[ModelCard]) -> Abilities | None:
        """The abilities, when every one of these models was measured and is what it was."""
        if self.abilities is None:
            return None
        told = {each.model: each.identity for each in self.abilities.models}
        return self.abilities if all(told.get(card.name) == identity_of(card) for card in cards) else None

    def votes_for(self, cards: Sequence[ModelCard]) -> Mapping[tuple[str, ...], Vote]:
        """By members: of pools whose members all stand among these models, and are what they were."""
        return by_members(fit_to(self.votes, cards))

    def rated_for(self, cards: Sequence[ModelCard]) -> Mapping[tuple[str, ...], Vote]:
        """As `votes_for`: those that ratings have taught."""
        return {members: pool.vote for members, pool in votes_among(self.rated, cards).items()}

    def judges_for(self, cards: Sequence[ModelCard]) -> Mapping[str, float]:
        """How often each of these models, where that was measured, prefers the right one of two, 0..1."""
        return {name: it.accuracy for name, it in match_judges(self.judges, cards).items()}


NOT_CALIBRATED = Calibrated()


class CalibrationStore:
    """Saves and finds them."""

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._now = now

    async def save_ladder(self, ladder: Ladder, identities: Mapping[str, str], *, use: bool) -> str:
        """Keep a ladder, and use it from now on or not. Gives its id."""
        named = {name: identities[name] for name in models_of(ladder)}
        document = StoredLadder(ladder=msgspec.Raw(msgspec.json.encode(ladder)), identities=named)
        return await self._save("ladder", msgspec.json.encode(document), use=use)

    async def save_abilities(self, abilities: Abilities, *, use: bool) -> str:
        """Keep abilities, and use them from now on or not. Gives their id."""
        return await self._save("abilities", msgspec.json.encode(abilities), use=use)

    async def save_votes(self, votes: Votes, *, use: bool) -> str:
        """Keep votes, and use them from now on or not. Gives their id."""
        return await self._save("votes", msgspec.json.encode(votes), use=use)

    async def save_rated_votes(self, votes: RatedVotes) -> str:
        """Keep votes that ratings have taught, and use them from now on. Gives their id."""
        return await self._save("rated votes", msgspec.json.encode(votes), use=True)

    async def save_judges(self, judges: Judges) -> str:
        """Keep what was measured of judges, and use it from now on. Gives its id."""
        return await self._save("judges", msgspec.json.encode(judges), use=True)

    async def save_outcomes(self, document: bytes) -> str:
        """Keep what was learnt from."""
        return await self._save("outcomes", document, use=True)

    async def current(self) -> Calibrated:
        """What is in force. What cannot be read is not, and the log says so."""
        ladder, identities = None, dict[str, str]()
        abilities, votes, rated, judges = None, None, None, None
        try:
            if document := await self._current("ladder"):
                stored = msgspec.json.decode(document, type=StoredLadder)
                ladder, identities = parse_ladder(bytes(stored.ladder)), stored.identities
            if document := await self._current("abilities"):
                abilities = parse_abilities(document)
            if document := await self._current("votes"):
                votes = parse_votes(document)
            if document := await self._current("rated votes"):
                rated = parse_rated_votes(document)
            if document := await self._current("judges"):
                judges = parse_judges(document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("a stored calibration cannot be read (%s); run `junctor calibrate` again", error)
        return Calibrated(
            ladder=ladder,
            identities=identities,
            abilities=abilities,
            votes=votes,
            rated=rated,
            judges=judges,
        )

    async def current_ladder(self) -> Ladder | None:
        """The ladder in force, whatever the pool."""
        return (await self.current()).ladder

    async def current_abilities(self) -> Abilities | None:
        """The abilities in force, whatever the pool."""
        return (await self.current()).abilities

    async def list(self) -> list[Calibration]:
        """All but outcomes, oldest first."""
        return [_calibration_of(row) for row in await self._database.read(_LIST)]

    async def use(self, id: str) -> Calibration:  # noqa: A002
        """From now on this one of its kind. Raises `CannotCalibrate` when there is none of that id."""
        rows = await self._database.read(_FIND, {"id": id})
        if not rows or rows[0]["kind"] == "outcomes":
            raise CannotCalibrate(
                f"there is no calibration {id[:80]!r}; `junctor calibrate --list` shows them"
            )
        await self._database.write(_USE, {"id": id, "kind": rows[0]["kind"]})
        return msgspec.structs.replace(_calibration_of(rows[0]), is_current=True)

    async def count(self, kind: Kind) -> int:
        """How many of a kind there are."""
        return (await self._database.read(_COUNT, {"kind": kind}))[0]["count"]

    async def _save(self, kind: Kind, document: bytes, *, use: bool) -> str:
        id = new_id("cal_")  # noqa: A001
        row = {"id": id, "kind": kind, "document": document.decode()}
        await self._database.write(
            _INSERT, {**row, "created_at": self._now().isoformat(timespec="milliseconds")}
        )
        if use:
            # One statement: whoever looks finds one of a kind in force, the old one or this.
            await self._database.write(_USE, {"id": id, "kind": kind})
        return id

    async def _current(self, kind: Kind) -> str | None:
        rows = await self._database.read(_CURRENT, {"kind": kind})
        return rows[0]["document"] if rows else None


def _calibration_of(row: Mapping[str, object]) -> Calibration:
    return msgspec.convert({**row, "is_current": bool(row["is_current"])}, Calibration)


def ladder_of(calibration: Calibration) -> Ladder | None:
    """The ladder of a row of that kind."""
    return parse_ladder(bytes(msgspec.json.decode(calibration.document, type=StoredLadder).ladder))
