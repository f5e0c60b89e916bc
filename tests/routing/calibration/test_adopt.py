"""What was learnt comes into force, or does not; it is kept in any case."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from junctor.chat import ModelCard
from junctor.pool.vote import Vote
from junctor.routing.abilities import Abilities, Ability
from junctor.routing.calibration.adopt import IN_FORCE, Adopted, adopt, judge, with_in_force
from junctor.routing.calibration.store import CalibrationStore
from junctor.routing.calibration.study import Comparison, Learnt, Studied, Study
from junctor.routing.calibration.votes import PoolVote, Votes
from junctor.routing.ladder import FORMAT, Ladder, Rung
from junctor.routing.neighbours import describe_prompts
from junctor.store.database import Database

pytestmark = pytest.mark.anyio

VOTE = Vote((0.1,), 0.2, 0.3, 0.4)


def ladder_named(version: str) -> Ladder:
    return Ladder(
        format=FORMAT,
        version=version,
        strongest="top",
        rungs=(Rung(("a",), VOTE, {}),),
        last=VOTE,
        caution=0.2,
        floor=0.98,
        confidence=0.95,
        prompts=300,
        promises={},
    )


def studied(name: str) -> Studied:
    return Studied(
        model=name,
        identity=f"x/{name}",
        prior=0,
        prior_error=1,
        ease=(0.0,),
        scores=(float(name != "a"),),
        usd=(0.1,),
        tokens=(3,),
        answers=("4",),
    )


STUDY = Study(
    models=(studied("a"), studied("top")),
    kinds=("own",),
    artefact="router-1",
    temperature=0.94,
    abilities_table=(0.0, 1.0),
    mean_ps_table=(0.5, 0.7),
    strongest=None,
    floor=0.98,
    confidence=0.95,
)
CARDS = [ModelCard(name="a", provider="x"), ModelCard(name="top", provider="x")]


def abilities_of(*models: str) -> Abilities:
    return Abilities(
        artefact="router-1",
        models=tuple(
            Ability(model=it, identity=f"x/{it}", logits=0, error=1, p=0.5, p_error=0.1, score=0.5, prompts=9)
            for it in models
        ),
    )


def learnt(
    ladder: Ladder | None, comparison: Comparison | None = None, *, abilities: Abilities | None = None
) -> Learnt:
    return Learnt(
        strongest="top",
        prompts=300,
        left_out=(),
        ladder=ladder,
        no_ladder="" if ladder else "too few",
        abilities=abilities or Abilities(artefact="router-1", models=()),
        ladder_comparison=comparison,
    )


def comparison(new: float, *, is_broken: bool = False) -> Comparison:
    return Comparison(prompts=300, old=0.8, new=new, error=0.01, is_broken=is_broken)


async def adopt_in(store: CalibrationStore, study: Study, what: Learnt, *pool: ModelCard) -> Adopted:
    """Beside what is in force, in a pool of `a` and `top` unless told."""
    return await adopt(store, study, what, await store.current(), pool or CARDS)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CalibrationStore]:
    async with Database(tmp_path / "junctor.db") as database:
        yield CalibrationStore(database)


@pytest.mark.parametrize(
    ("has_old", "compared", "verdict"),
    [
        (False, None, "first"),
        (True, None, "untested"),
        (True, comparison(0.82), "better"),
        (True, comparison(0.805), "kept"),
        (True, comparison(0.7, is_broken=True), "broken"),
    ],
)
def test_the_verdict(has_old: bool, compared: Comparison | None, verdict: str) -> None:
    assert judge(has_old=has_old, comparison=compared) == verdict


async def test_the_first_comes_into_force_and_an_equal_one_is_only_kept(store: CalibrationStore) -> None:
    first = await adopt_in(store, STUDY, learnt(ladder_named("one")))
    assert (first.ladder, first.abilities) == ("first", "first")
    study = with_in_force(STUDY, await store.current(), CARDS)
    assert study.ladder == ladder_named("one")
    second = await adopt_in(store, study, learnt(ladder_named("two"), comparison(0.8)))
    assert second.ladder == "kept"
    assert (await store.current()).ladder == ladder_named("one")
    assert len([each for each in await store.list() if each.kind == "ladder"]) == 2
    third = await adopt_in(store, study, learnt(ladder_named("three"), comparison(0.9)))
    assert third.ladder in IN_FORCE
    assert (await store.current()).ladder == ladder_named("three")


async def test_one_that_does_not_fit_the_pool_is_replaced_uncompared(store: CalibrationStore) -> None:
    await adopt_in(store, STUDY, learnt(ladder_named("one")))
    changed = [CARDS[0], msgspec.structs.replace(CARDS[1], upstream="top-v2")]
    study = with_in_force(STUDY, await store.current(), changed)
    assert study.ladder is None
    assert (await adopt_in(store, study, learnt(ladder_named("two")), *changed)).ladder == "first"


async def test_learning_no_ladder_leaves_the_old_one_in_force(store: CalibrationStore) -> None:
    await adopt_in(store, STUDY, learnt(ladder_named("one")))
    study = with_in_force(STUDY, await store.current(), CARDS)
    adopted = await adopt_in(store, study, learnt(None))
    assert (adopted.ladder, adopted.ladder_id) == ("nothing", None)
    assert (await store.current()).ladder == ladder_named("one")


async def test_outcomes_are_kept_without_what_was_in_force(store: CalibrationStore, tmp_path: Path) -> None:
    study = msgspec.structs.replace(STUDY, ladder=ladder_named("old"), named=((1.0,) * 30,))
    await adopt_in(store, study, learnt(ladder_named("one"), comparison(0.9)))
    async with Database(tmp_path / "junctor.db") as database:
        rows = await database.read("SELECT document FROM calibrations WHERE kind = 'outcomes'")
    assert msgspec.json.decode(rows[0]["document"], type=Study) == STUDY


async def test_a_calibration_of_some_models_leaves_the_ladder_and_the_others_abilities(
    store: CalibrationStore,
) -> None:
    """`--models`: it says nothing of the rest of the pool."""
    whole = learnt(ladder_named("one"), abilities=abilities_of("a", "top"))
    await adopt_in(store, STUDY, whole)
    some = msgspec.structs.replace(STUDY, models=(studied("a"), studied("new")))
    pool = [*CARDS, ModelCard(name="new", provider="x")]
    study = with_in_force(some, await store.current(), [CARDS[0], pool[2]])
    assert (study.ladder, study.abilities) == (None, None)
    two = msgspec.structs.replace(ladder_named("two"), strongest="new")
    adopted = await adopt_in(store, study, learnt(two, abilities=abilities_of("a", "new")), *pool)
    assert (adopted.ladder, adopted.abilities) == ("untested", "first")
    current = await store.current()
    assert current.ladder == ladder_named("one")
    assert current.abilities is not None
    assert [each.model for each in current.abilities.models] == ["a", "new", "top"]


async def test_residuals_of_models_that_were_not_asked_again_are_forgotten(store: CalibrationStore) -> None:
    """They are of prompts that are not in the new neighbourhood."""
    its = describe_prompts([(float(at),) * 30 for at in range(3)])

    def local(*models: str) -> Abilities:
        plain = levels_of(*models)
        asked = tuple(msgspec.structs.replace(each, residuals=(0.1, 0.2, 0.3)) for each in plain.models)
        return msgspec.structs.replace(plain, models=asked, neighbourhood=its)

    await adopt_in(store, STUDY, learnt(None, abilities=local("a", "top")))
    some = msgspec.structs.replace(STUDY, models=(studied("a"), studied("new")))
    pool = [*CARDS, ModelCard(name="new", provider="x")]
    study = with_in_force(some, await store.current(), [CARDS[0], pool[2]])
    await adopt_in(store, study, learnt(None, abilities=local("a", "new")), *pool)
    current = (await store.current()).abilities
    assert current is not None
    assert current.neighbourhood == its
    assert {each.model: len(each.residuals) for each in current.models} == {"a": 3, "new": 3, "top": 0}


def levels_of(*models: str) -> Abilities:
    """As measured on prompts of the user's own."""
    plain = abilities_of(*models)
    asked = tuple(msgspec.structs.replace(each, level=-1.0, level_error=0.1) for each in plain.models)
    return msgspec.structs.replace(plain, models=asked, shift=1.0)


OURS = msgspec.structs.replace(STUDY, kinds=("dates",))


async def test_questions_of_ours_do_not_unseat_what_own_prompts_have_taught(store: CalibrationStore) -> None:
    await adopt_in(store, STUDY, learnt(None, abilities=levels_of("a", "top")))
    study = with_in_force(OURS, await store.current(), CARDS)
    adopted = await adopt_in(store, study, learnt(None, abilities=abilities_of("a", "top")))
    assert adopted.abilities == "own"
    assert (await store.current()).abilities == levels_of("a", "top")
    gone = [msgspec.structs.replace(each, upstream="v2") for each in CARDS]
    study = with_in_force(OURS, await store.current(), gone)
    adopted = await adopt_in(store, study, learnt(None, abilities=abilities_of("a", "top")), *gone)
    assert adopted.abilities == "first"


def agreed(what: Study | Abilities | Ladder):
    """The same, where what the strongest model said counted as right."""
    return msgspec.structs.replace(what, judged_by_strongest=1)


async def test_agreement_does_not_unseat_what_right_answers_have_taught(store: CalibrationStore) -> None:
    """Neither abilities nor a ladder, however good they look; right answers may unseat agreement."""
    before = learnt(ladder_named("one"), abilities=levels_of("a", "top"))
    await adopt_in(store, STUDY, before)
    study = with_in_force(agreed(STUDY), await store.current(), CARDS)
    newer = learnt(agreed(ladder_named("two")), comparison(0.9), abilities=agreed(levels_of("a", "top")))
    newer = msgspec.structs.replace(newer, abilities_comparison=comparison(0.9))
    adopted = await adopt_in(store, study, newer)
    assert (adopted.ladder, adopted.abilities) == ("agreement", "agreement")
    current = await store.current()
    assert (current.ladder, current.abilities) == (before.ladder, before.abilities)
    assert adopted.ladder_id is not None
    await store.use(adopted.ladder_id)
    await store.use(adopted.abilities_id)
    study = with_in_force(agreed(STUDY), await store.current(), CARDS)
    adopted = await adopt_in(store, study, newer)
    assert (adopted.ladder, adopted.abilities) == ("better", "better"), "of their own kind they may"
    study = with_in_force(STUDY, await store.current(), CARDS)
    adopted = await adopt_in(store, study, msgspec.structs.replace(before, ladder_comparison=comparison(0.9)))
    assert adopted.ladder == "better"


async def test_agreement_is_better_than_nothing(store: CalibrationStore) -> None:
    adopted = await adopt_in(store, agreed(STUDY), learnt(agreed(ladder_named("one"))))
    assert (adopted.ladder, adopted.abilities) == ("first", "first")


@pytest.mark.parametrize(
    ("floor", "confidence", "strongest", "verdict"),
    [
        (0.99, 0.95, "top", "stricter"),
        (0.98, 0.99, "top", "stricter"),
        (0.98, 0.95, "top", "kept"),
        (0.95, 0.95, "top", "kept"),
        (0.99, 0.90, "top", "kept"),
        (0.99, 0.95, "a", "kept"),
    ],
)
async def test_a_stricter_promise_that_was_asked_for_takes_effect(
    store: CalibrationStore, floor: float, confidence: float, strongest: str, verdict: str
) -> None:
    """A looser one is not `as good`. What is promised of another model, or less surely, is not stricter."""
    await adopt_in(store, STUDY, learnt(ladder_named("one")))
    new = msgspec.structs.replace(
        ladder_named("two"),
        floor=floor,
        confidence=confidence,
        strongest=strongest,
        rungs=(Rung(("top",), VOTE, {}),) if strongest == "a" else (Rung(("a",), VOTE, {}),),
    )
    study = with_in_force(STUDY, await store.current(), CARDS)
    assert (await adopt_in(store, study, learnt(new, comparison(0.8)))).ladder == verdict
    current = (await store.current()).ladder
    assert current is not None
    assert current.version == ("two" if verdict == "stricter" else "one")


async def test_what_cannot_rank_models_does_not_come_into_force(store: CalibrationStore) -> None:
    """Not even as the first, or where the old ladder looks broken."""
    alike = tuple(msgspec.structs.replace(it, scores=(0.0,)) for it in STUDY.models)
    useless = msgspec.structs.replace(STUDY, models=alike)
    found = msgspec.structs.replace(
        learnt(ladder_named("one"), abilities=abilities_of("a", "top")), votes=votes_of(("a", "top"))
    )
    adopted = await adopt_in(store, useless, found)
    assert (adopted.ladder, adopted.abilities, adopted.votes) == ("useless",) * 3
    current = await store.current()
    assert (current.ladder, current.abilities, current.votes) == (None, None, None)
    await adopt_in(store, STUDY, found)
    broken = msgspec.structs.replace(found, ladder_comparison=comparison(0.1, is_broken=True))
    study = with_in_force(useless, await store.current(), CARDS)
    assert (await adopt_in(store, study, broken)).ladder == "useless"


async def test_others_keep_their_abilities_and_not_their_levels(store: CalibrationStore) -> None:
    """A level is of the prompts that it was measured on."""
    await adopt_in(store, STUDY, learnt(None, abilities=levels_of("a", "top")))
    some = msgspec.structs.replace(STUDY, models=(studied("a"), studied("new")))
    await adopt_in(store, some, learnt(None, abilities=levels_of("a", "new")))
    current = (await store.current()).abilities
    assert current is not None
    assert {each.model: each.level for each in current.models} == {"a": -1.0, "new": -1.0, "top": None}


def votes_of(*pools: tuple[str, ...], weight: float = 1.0) -> Votes:
    return Votes(
        pools=tuple(
            PoolVote(
                members=members,
                vote=Vote((weight,) * len(members), 0, 0, 0),
                best=members[0],
                prompts=200,
                score=0.9,
                best_score=0.8,
                majority_score=0.9,
            )
            for members in pools
        ),
        identities={name: f"x/{name}" for members in pools for name in members},
    )


def learnt_votes(votes: Votes | None, compared: Comparison | None = None) -> Learnt:
    return msgspec.structs.replace(learnt(None), votes=votes, votes_comparison=compared)


async def test_votes_come_into_force_where_there_are_none_or_where_they_are_better(
    store: CalibrationStore,
) -> None:
    first = await adopt_in(store, STUDY, learnt_votes(votes_of(("a", "top"))))
    assert first.votes == "first"
    study = with_in_force(STUDY, await store.current(), CARDS)
    assert study.votes == votes_of(("a", "top"))
    kept = await adopt_in(store, study, learnt_votes(votes_of(("top", "a"), weight=2.0), comparison(0.8)))
    assert kept.votes == "kept"
    assert (await store.current()).votes == votes_of(("a", "top"))
    better = votes_of(("a", "top"), weight=3.0)
    assert (await adopt_in(store, study, learnt_votes(better, comparison(0.9)))).votes == "better"
    assert (await store.current()).votes == better


async def test_a_new_fusion_gets_its_vote_and_other_pools_keep_theirs(store: CalibrationStore) -> None:
    """The votes in force say nothing of it; those of members that are not what they were go."""
    cards = [*CARDS, ModelCard(name="b", provider="x")]
    old = votes_of(("a", "b"), ("a", "top"), ("b", "gone"))
    await adopt_in(store, STUDY, learnt_votes(old), *cards)
    study = with_in_force(STUDY, await store.current(), CARDS)
    new = votes_of(("top", "a"), ("top", "a", "b"), weight=2.0)
    adopted = await adopt_in(store, study, learnt_votes(new, comparison(0.8)), *cards)
    assert adopted.votes == "first"
    votes = (await store.current()).votes
    assert votes is not None
    assert [pool.members for pool in votes.pools] == [("top", "a"), ("top", "a", "b"), ("a", "b")]


async def test_no_votes_change_nothing(store: CalibrationStore) -> None:
    await adopt_in(store, STUDY, learnt_votes(votes_of(("a", "top"))))
    adopted = await adopt_in(store, STUDY, learnt_votes(None))
    assert (adopted.votes, adopted.votes_id) == ("nothing", None)
    assert (await store.current()).votes == votes_of(("a", "top"))
