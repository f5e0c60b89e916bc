"""`junctor calibrate`: find out what the pool's models can do, and which to ask first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from junctor.assemble import Builder, Member, choose_members, database_path, policy_of
from junctor.chat import BadRequest, Model, ModelCard
from junctor.cli.calibrate_feedback import learn_from_feedback
from junctor.cli.calibrate_judges import Purse, examine, judges_of
from junctor.cli.calibration_report import (
    print_all,
    print_judges,
    print_plan,
    print_report,
    print_too_few_pairs,
)
from junctor.cli.terminal import RELOAD, ConfigOption, console, errors, load, plain_errors
from junctor.lasting import ARTEFACT
from junctor.pool.transport import Transport
from junctor.routing.calibration.adopt import IN_FORCE, adopt, with_in_force
from junctor.routing.calibration.answer_log import AnswerLog, Said, digest_of
from junctor.routing.calibration.grading import Graded, estimate_usd, grade, make_study, place_strongest
from junctor.routing.calibration.judges import (
    LEAST_PAIRS,
    MOST_PAIRS,
    JudgeSkill,
    Pair,
    add_judges,
    make_pairs,
)
from junctor.routing.calibration.learner import check_learner, learn
from junctor.routing.calibration.prompt_file import parse_prompts
from junctor.routing.calibration.questions import Question, make_questions
from junctor.routing.calibration.store import Calibrated, CalibrationStore
from junctor.routing.calibration.study import Learnt, Study
from junctor.routing.calibration.survey import Survey, Terms
from junctor.routing.errors import CannotCalibrate
from junctor.routing.predictor import Predictor, parse_artefact
from junctor.settings import Environment, Settings
from junctor.settings_check import suggestion
from junctor.settings_meaning import MEMBERS_BY_DEFAULT
from junctor.store.database import Database


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    prompts: Path | None
    count: int
    models: tuple[str, ...]
    strongest: str | None
    floor: float
    confidence: float
    judge_pairs: int
    terms: Terms


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(calibrate)


def calibrate(  # noqa: PLR0913, RUF100 - the options of a command
    prompts: Annotated[
        Path | None,
        typer.Option(help='Your own, as JSON lines: {"prompt" or "messages", "answer" (may be left out)}.'),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Questions of our own making, without --prompts.")] = 300,
    models: Annotated[str, typer.Option(help="Names, with commas between; left out: the whole pool.")] = "",
    strongest: Annotated[
        str | None, typer.Option(help="The model to measure up to; left out: the highest score.")
    ] = None,
    floor: Annotated[
        float, typer.Option(min=0.5, max=1, help="Promise this share of the strongest model's quality ...")
    ] = 0.98,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="... with this probability.")] = 0.95,
    max_usd: Annotated[
        float, typer.Option(min=0, help="Stop before it costs more, and use what is there.")
    ] = 5,
    max_tokens: Annotated[int, typer.Option(min=16, help="Of one answer; hidden reasoning counts.")] = 2048,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Calls at once.")] = 8,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Go on without a model that does not answer.")
    ] = False,
    judge_pairs: Annotated[
        int,
        typer.Option(min=0, max=1000, help="Pairs of answers that judges of fusions are tried on; 0: none."),
    ] = MOST_PAIRS,
    feedback_days: Annotated[
        int | None, typer.Option(min=1, help="Ask no model: learn votes from what callers said of answers.")
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Show the calibrations that are kept.")] = False,
    use: Annotated[
        str | None, typer.Option(metavar="ID", help="Put a kept calibration in force, as of --list.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Ask every model the same questions; learn abilities, votes, and a ladder with a promise.

    Costs money where models do. What is cut short goes on when the same command is run again.
    """
    terms = Terms(max_usd=max_usd, max_tokens=max_tokens, concurrency=concurrency, keep_going=keep_going)
    wish = Wish(
        prompts=prompts,
        count=count,
        models=tuple(name.strip() for name in models.split(",") if name.strip()),
        strongest=strongest,
        floor=floor,
        confidence=confidence,
        judge_pairs=judge_pairs,
        terms=terms,
    )
    with plain_errors():
        settings, environment, _ = load(config)
        if show or use is not None:
            _run(_look_after(settings, environment, use))
        elif feedback_days is not None:
            _run(learn_from_feedback(feedback_days, settings, environment))
        else:
            _run(_calibrate(wish, settings, environment))


def _run(work: Coroutine[None, None, None]) -> None:
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        errors.print("\nInterrupted. The answers so far are kept: the same command goes on from there.")
        raise typer.Exit(130) from None


async def _look_after(settings: Settings, environment: Environment, use: str | None) -> None:
    async with Database(database_path(settings, environment)) as database:
        store = CalibrationStore(database)
        if use is not None:
            chosen = await store.use(use)
            console.print(f"{chosen.id} is the {chosen.kind} in force. {RELOAD}", soft_wrap=True)
        else:
            print_all(await store.list())


async def _calibrate(wish: Wish, settings: Settings, environment: Environment) -> None:
    await check_learner()
    given = None if wish.prompts is None else _read_prompts(wish.prompts)
    pool = await choose_members(settings, environment)
    members = _choose(pool, wish)
    predictor = Predictor(parse_artefact(ARTEFACT.read_bytes()))
    folder = environment.data_dir / "calibration"
    async with Database(database_path(settings, environment)) as database:
        store = CalibrationStore(database)
        questions, path = given or [], folder / f"prompts-{digest_of(given or [])}.jsonl"
        if given is None:
            questions, path = _make_questions(wish.count, folder, await store.count("outcomes"))
        with AnswerLog(path) as log:
            survey = await _ask_all(wish, settings, environment, members, questions, log, predictor)
            cards = [member.card for member in members if member.card.name not in survey.dropped]
            study, graded, current = await _make_study(
                wish, settings, cards, questions, log, predictor, store
            )
            learnt = await learn(study)
            adopted = await adopt(store, study, learnt, current, [member.card for member in pool])
            print_report(graded, study, learnt, adopted, cards)
            pairs = make_pairs(graded.questions, study, survey.replies, most=wish.judge_pairs)
            left_usd = wish.terms.max_usd - survey.usd
            judges = await _try_judges(wish, settings, environment, pool, learnt, pairs, left_usd)
            if judges:
                await store.save_judges(add_judges(judges, current.judges))
            if judges or IN_FORCE & {adopted.ladder, adopted.abilities, adopted.votes}:
                console.print(RELOAD, soft_wrap=True)
            if not survey.is_out_of_money:
                log.remove()


async def _try_judges(
    wish: Wish,
    settings: Settings,
    environment: Environment,
    pool: Sequence[Member],
    learnt: Learnt,
    pairs: Sequence[Pair],
    left_usd: float,
) -> list[JudgeSkill]:
    """How good the judges of the fusions in junctor.toml are."""
    named = judges_of(settings.fusions, learnt.abilities)
    members = [member for member in pool if member.card.name in named]
    if not members or not wish.judge_pairs:
        return []
    if len(pairs) < LEAST_PAIRS:
        print_too_few_pairs(len(pairs))
        return []
    async with _pool(settings, environment, members) as models:
        errors.print(f"{len(pairs)} pairs of answers to {', '.join(models)}, as judges.", markup=False)
        purse, concurrency = Purse(left_usd), wish.terms.concurrency
        examined = await examine(models, pairs, purse, policy_of(settings), concurrency)
    print_judges(examined)
    return [each.skill for each in examined if each.skill is not None]


def _read_prompts(path: Path) -> list[Question]:
    try:
        return parse_prompts(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CannotCalibrate(f"{path} cannot be read: {error}") from error
    except BadRequest as error:
        raise CannotCalibrate(f"{path}: {error}") from error


def _choose(members: Sequence[Member], wish: Wish) -> list[Member]:
    chats = {member.card.name: member for member in members if member.settings.kind == "chat"}
    for name in (*wish.models, *filter(None, [wish.strongest])):
        if name not in chats:
            hint = suggestion(name, chats) or f"; there are: {', '.join(chats) or 'none'}"
            raise CannotCalibrate(f"the pool holds no model {name!r}{hint}")
    if wish.models and wish.strongest and wish.strongest not in wish.models:
        raise CannotCalibrate(f"--strongest {wish.strongest} is not among --models")
    chosen = [chats[name] for name in dict.fromkeys(wish.models)] or list(chats.values())
    if not chosen:
        raise CannotCalibrate("the pool is empty: add [[models]] to junctor.toml, or pull a local model")
    return chosen


def _make_questions(count: int, folder: Path, calibrations: int) -> tuple[list[Question], Path]:
    """Those of a run that did not end; else new ones, so that no calibration is tested on old questions."""
    begun = sorted(folder.glob(f"questions-{count}-*.jsonl"))
    seed = int(begun[-1].stem.rpartition("-")[2]) if begun else calibrations + 1
    return make_questions(count, seed), folder / f"questions-{count}-{seed}.jsonl"


async def _ask_all(
    wish: Wish,
    settings: Settings,
    environment: Environment,
    members: Sequence[Member],
    questions: Sequence[Question],
    log: AnswerLog,
    predictor: Predictor,
) -> Survey:
    """Fill the log."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with _pool(settings, environment, members) as models:
        with Progress(*columns, console=errors) as progress:
            task = progress.add_task("starting")

            def tell(_: Said | None) -> None:
                progress.update(task, advance=1, description=f"{survey.usd:.4f} USD")

            survey = Survey(models, questions, log, wish.terms, policy_of(settings), tell=tell)
            progress.update(task, total=len(survey.calls))
            cards = [member.card for member in members]
            calls = [(call.model, call.question, call.request) for call in survey.calls]
            print_plan(cards, len(questions), survey, estimate_usd(cards, calls, predictor))
            await survey.run()
    for name, why in survey.dropped.items():
        errors.print(f"{name} is left out, it does not answer: {why}", markup=False, soft_wrap=True)
    if survey.is_out_of_money:
        errors.print(
            f"Stopped at {survey.usd:.4f} USD: the next answer might cost more than --max-usd. What is there "
            "is used, and kept: the same command with a higher --max-usd goes on from there.",
            soft_wrap=True,
        )
    return survey


@asynccontextmanager
async def _pool(
    settings: Settings, environment: Environment, members: Sequence[Member]
) -> AsyncGenerator[dict[str, Model], None]:
    """The bare models, local ones with their engines running: no fallback answers in another's place."""
    transport = Transport()
    builder = Builder(settings, environment, transport)
    try:
        models = {member.card.name: builder.build(member) for member in members}
        for engine in builder.engines.values():
            await engine.start()
        yield models
    finally:
        await asyncio.gather(*(engine.stop() for engine in builder.engines.values()))
        await transport.close()


async def _make_study(
    wish: Wish,
    settings: Settings,
    cards: Sequence[ModelCard],
    questions: Sequence[Question],
    log: AnswerLog,
    predictor: Predictor,
    store: CalibrationStore,
) -> tuple[Study, Graded, Calibrated]:
    """What is learnt from, how it was graded, and what is in force."""
    named = [card for card in cards if card.name == wish.strongest]
    if not log.said or not cards or (wish.strongest and not named):
        raise CannotCalibrate("there is nothing to learn from: no answers, or none of the strongest model")
    current = await store.current()
    judge = named[0] if named else place_strongest(cards, predictor, current.abilities)
    graded = grade(questions, log.said, judge)
    if not graded.questions:
        raise CannotCalibrate("no question has an answer that can be compared")
    strongest = judge.name if graded.judged_by_strongest else wish.strongest
    study = make_study(
        graded,
        log.said,
        cards,
        predictor,
        usd_per_hour=settings.local.usd_per_hour,
        floor=wish.floor,
        confidence=wish.confidence,
        strongest=strongest,
        fusions=[tuple(dict.fromkeys(fusion.members)) for fusion in settings.fusions],
        most_members=MEMBERS_BY_DEFAULT,
        neighbours=settings.routing.neighbours,
    )
    return with_in_force(study, current, cards), graded, current
