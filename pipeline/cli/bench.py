"""`cascade bench`: what this machine carries, measured beside other ways to do the same."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline.bench.lab import Check, Lab, lab
from pipeline.bench.plan import DEFAULT, FULL, QUICK, Pace
from pipeline.cli.interruption import interruptible
from pipeline.settings import load_settings

__all__ = ["command"]

_EVERYONE = ("single", "paired", "processes", "forward", "loop", "quix", "faust", "streams")
_QUICK = ("single", "forward", "loop", "faust")
_MODES = click.Choice(["single", "paired", "processes"])
_INTERRUPTED = 130
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class _Options:
    """What all commands of the bench take."""

    pace: Pace
    symbols: int
    partitions: int
    as_json: bool
    page_file: Path | None
    keep: bool


def _shared(function: _Command) -> _Command:
    """Give a command the options that all have."""
    decorators = (
        click.option("--quick", "pace", flag_value="quick", help="Short phases, no repeats."),
        click.option("--full", "pace", flag_value="full", help="Rates held for 60 s."),
        click.option("--symbols", type=click.IntRange(1, 10_000), default=20, show_default=True),
        click.option(
            "--partitions",
            type=click.IntRange(1, 64),
            default=lambda: max(1, (os.cpu_count() or 1) // 4),
            help="Of what is keyed by symbol; by default one for every four cores.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON."),
        click.option(
            "--report",
            "page_file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Write a page with charts.",
        ),
        click.option("--keep", is_flag=True, help="Leave a broker that was started running."),
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def _options(given: Mapping[str, Any]) -> _Options:
    pace = {"quick": QUICK, "full": FULL}.get(given["pace"] or "", DEFAULT)
    return _Options(
        pace,
        given["symbols"],
        given["partitions"],
        given["as_json"],
        given["page_file"],
        given["keep"],
    )


def _run(
    name: str,
    given: Mapping[str, Any],
    scenario: Callable[[Lab], Sequence[Check]],
    extra: Callable[[], Mapping[str, Any]] = dict,
    more_text: Callable[[], str] = str,
    *,
    own_broker: bool = False,
) -> None:
    """Run a scenario, print what came of it, and end with 0 if all checks passed, else with 1."""
    from pipeline.bench.output import checks_text, page, table, to_json

    options = _options(given)
    settings = load_settings()
    if own_broker:  # one that may be killed
        home = settings.home / "bench" / name
        settings = settings.model_copy(update={"broker": None, "home": home})
    with interruptible():
        try:
            with lab(
                settings,
                options.pace,
                symbols=options.symbols,
                partitions=options.partitions,
                say=lambda text: click.echo(text, err=True),
                keep=options.keep,
            ) as opened:
                checks = scenario(opened)
        except KeyboardInterrupt:
            click.echo("Interrupted; everything that was started has ended.", err=True)
            sys.exit(_INTERRUPTED)
    if options.as_json:
        click.echo(to_json(opened, name, checks, extra()))
    else:
        shown = (table(opened.measurements), more_text(), checks_text(checks))
        click.echo("\n\n".join(text for text in shown if text))
    if options.page_file is not None:
        options.page_file.write_text(page(opened, name, checks))
    sys.exit(0 if all(check.passed for check in checks) else 1)


@click.group("bench", invoke_without_command=True)
@_shared
@click.option("--only", multiple=True, metavar="NAME", help="These contenders; may be repeated.")
def command(only: tuple[str, ...], **given: Any) -> None:
    """Measure the pipeline, its engine and others beside it, under the same open-loop load.

    Without a subcommand: each contender's highest sustained rate and its latency at fixed rates;
    with --quick a look at a few rates, within 3 minutes. A rate is sustained when it is held with
    an error rate under 0.01, nothing lost, repeated or out of order, and a backlog that does not
    grow. Latency runs from the moment a packet was due. Exit code 1 where a check fails.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    from pipeline.bench.contenders import contender
    from pipeline.bench.scenarios import everyone, quick

    names = [contender(name).name for name in only]
    if given["pace"] == "quick":
        _run("quick", given, lambda lab: quick(lab, names or _QUICK))
    _run("all", given, lambda lab: everyone(lab, names or _EVERYONE))


@command.command("forward")
@_shared
@click.option("--with", "extra", multiple=True, metavar="NAME", help="One more contender.")
def forward_command(extra: tuple[str, ...], **given: Any) -> None:
    """Check forwarding stages: 6 x stock Faust, 1.8 x Quix Streams, 1.3 x the loop's CPU."""
    from pipeline.bench.scenarios import forward

    _run("forward", given, lambda lab: forward(lab, extra))


@command.command("sustained")
@_shared
@click.option("--mode", type=_MODES, default="single", show_default=True)
def sustained_command(mode: str, **given: Any) -> None:
    """Check that the real pipeline sustains 1,500 packets/s."""
    from pipeline.bench.scenarios import sustained

    _run("sustained", given, lambda lab: sustained(lab, mode))


@command.command("latency")
@_shared
@click.option("--mode", type=_MODES, default="single", show_default=True)
@click.option("--rate", type=float, default=1000.0, show_default=True, help="For p99.")
@click.option("--low-rate", type=float, default=200.0, show_default=True, help="For p50.")
def latency_command(mode: str, rate: float, low_rate: float, **given: Any) -> None:
    """Check p99 under 100 ms at 1,000/s, and p50 at 200/s within 3 x the loop's."""
    from pipeline.bench.scenarios import latency

    _run("latency", given, lambda lab: latency(lab, mode, rate, low_rate))


@command.command("price")
@_shared
@click.option("--rate", type=float, default=1000.0, show_default=True)
@click.option("--forward", "forwarding", is_flag=True, help="With stages that only forward.")
def price_command(rate: float, forwarding: bool, **given: Any) -> None:
    """Check that exactly-once costs at most 15 % over at-least-once."""
    from pipeline.bench.scenarios import price

    _run("price", given, lambda lab: price(lab, rate, forwarding=forwarding))


@command.command("takeover")
@_shared
@click.option("--stage", default="strategic", show_default=True)
@click.option("--rate", type=float, default=100.0, show_default=True)
@click.option("--records", default="1000,5000,20000", show_default=True, help="Log lengths.")
@click.option("--symbol-counts", default="20,500", show_default=True, help="State sizes.")
def takeover_command(
    stage: str, rate: float, records: str, symbol_counts: str, **given: Any
) -> None:
    """Kill a worker (SIGKILL) and take the time to the first new record, by its parts."""
    from pipeline.bench.takeover import TakeOver, takeover, takeover_table

    found: list[TakeOver] = []
    lengths, states = _numbers(records), _numbers(symbol_counts)

    def scenario(lab: Lab) -> list[Check]:
        return takeover(lab, stage, rate, lengths, states, found)

    _run(
        "takeover",
        given,
        scenario,
        lambda: {"take_overs": [each.to_dict() for each in found]},
        lambda: takeover_table(found),
    )


@command.command("growth")
@_shared
@click.option(
    "--over",
    type=click.Choice(["symbols", "partitions", "workers", "size", "history"]),
    multiple=True,
    help="What grows; all where not given.",
)
@click.option("--rate", type=float, default=300.0, show_default=True)
def growth_command(over: tuple[str, ...], rate: float, **given: Any) -> None:
    """Show cost per packet and memory against symbols, partitions, workers, size and history."""
    from pipeline.bench.growth import growth

    _run("growth", given, lambda lab: growth(lab, over, rate))


@command.command("soak")
@_shared
@click.option("--mode", type=_MODES, default="single", show_default=True)
@click.option("--rate", type=float, default=300.0, show_default=True)
@click.option("--seconds", type=float, default=600.0, show_default=True)
def soak_command(mode: str, rate: float, seconds: float, **given: Any) -> None:
    """Run for ten minutes and check that memory and latency do not grow."""
    from pipeline.bench.growth import soak

    _run("soak", given, lambda lab: soak(lab, mode, rate, seconds))


@command.command("halt")
@_shared
@click.option("--rounds", type=click.IntRange(1), default=30, show_default=True, help="Halts.")
@click.option(
    "--burst", type=click.FloatRange(min=0.5), default=1.5, show_default=True,
    help="Seconds of load before each halt, and after it.",
)  # fmt: skip
def halt_command(rounds: int, burst: float, **given: Any) -> None:
    """Halt at twice the rate worked off: p99 within 100 ms more than a round takes.

    Then kills its broker and all workers (SIGKILL), which come back halted, and halts this machine
    without a broker. Always starts a broker of its own.
    """
    from pipeline.bench.halting import Halting, halt, halt_table

    found = Halting()
    _run(
        "halt",
        given,
        lambda lab: halt(lab, rounds, burst, found),
        lambda: {"halting": found.to_dict()},
        lambda: halt_table(found),
        own_broker=True,
    )


@command.command("isolate")
@_shared
@click.option("--mode", type=_MODES, default="paired", show_default=True)
@click.option("--rate", type=float, default=300.0, show_default=True)
@click.option("--seconds", type=float, default=20.0, show_default=True, help="Of isolation.")
def isolate_command(mode: str, rate: float, seconds: float, **given: Any) -> None:
    """Isolate tactical: others keep their latency, nothing is lost, no order is stale."""
    from pipeline.bench.isolating import Isolated, isolate, isolate_table

    found = Isolated()
    _run(
        "isolate",
        given,
        lambda lab: isolate(lab, mode, rate, seconds, found),
        lambda: {"isolation": found.to_dict()},
        lambda: isolate_table(found),
    )


@command.command("replay")
@_shared
@click.option("--packets", type=click.IntRange(min=100), default=10_000, show_default=True)
@click.option("--rate", type=float, default=100.0, show_default=True, help="What real time is.")
def replay_command(packets: int, rate: float, **given: Any) -> None:
    """Replay 10,000 packets: no divergence, 10 x real time, no order; then with a limit changed."""
    from pipeline.bench.replay import Replayed, replay

    found: list[Replayed] = []
    _run(
        "replay",
        given,
        lambda lab: replay(lab, packets, rate, found),
        lambda: {"replays": [each.to_dict() for each in found]},
    )


@command.command("overload")
@_shared
@click.option("--mode", type=_MODES, default="single", show_default=True)
@click.option("--capacity", type=float, help="Packets a second; searched for where not given.")
@click.option("--factors", default="1,2,5", show_default=True, help="Multiples of it.")
def overload_command(mode: str, capacity: float | None, factors: str, **given: Any) -> None:
    """Offer more than is sustained: what is delivered, how late, what is shed, how soon it ends.

    Checks that at the highest factor at least 0.8 of the best throughput is delivered, p99 of it
    within the deadline, every packet accounted for, and that memory stays and it recovers.
    """
    from pipeline.bench.overload import Overload, overload, overload_table

    found: list[Overload] = []
    multiples = [float(each) for each in _numbers(factors)]
    _run(
        "overload",
        given,
        lambda lab: overload(lab, mode, capacity, multiples, found),
        lambda: {"overload": [each.to_dict() for each in found]},
        lambda: overload_table(found),
    )


@command.command("lanes")
@_shared
@click.option("--mode", type=_MODES, default="single", show_default=True)
@click.option("--capacity", type=float, help="Packets a second; searched for where not given.")
@click.option("--rate", type=float, default=50.0, show_default=True, help="Priority packets/s.")
@click.option("--seconds", type=float, default=12.0, show_default=True, help="Of each phase.")
def lanes_command(
    mode: str, capacity: float | None, rate: float, seconds: float, **given: Any
) -> None:
    """Load the normal lane with 5 x capacity: p99 of the priority lane at most 2 x its idle value.

    Idle means that nothing else is under way. Checks that nothing is lost, repeated or out of order
    in either lane. Searches for the capacity with short probes, as with --quick.
    """
    from pipeline.bench.lanes import Lanes, lanes, lanes_table

    found = Lanes()
    _run(
        "lanes",
        {**given, "pace": given["pace"] or "quick"},
        lambda lab: lanes(lab, mode, capacity, rate, seconds, found),
        lambda: {"lanes": found.to_dict()},
        lambda: lanes_table(found),
    )


@command.command("watch")
@_shared
@click.option("--mode", type=_MODES, default="paired", show_default=True)
@click.option("--rate", type=float, default=200.0, show_default=True)
@click.option("--pairs", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option("--flood", type=click.IntRange(min=500), default=6000, show_default=True)
def watch_command(mode: str, rate: float, pairs: int, flood: int, **given: Any) -> None:
    """Watch and do not, in turns: what it costs the path, and whether the monitor is right.

    Checks that the monitor's p50 and p99 are within 5 % of what the bench's own reader measures of
    the same packets, and that the path's p50 is within 10 % of that without anybody watching. The
    ratios of throughput and p99 are stated with their spread.
    """
    from pipeline.bench.watching import Watched, watch, watch_table

    found = Watched()
    _run(
        "watch",
        given,
        lambda lab: watch(lab, mode, rate, pairs, flood, found),
        lambda: {"watching": found.to_dict()},
        lambda: watch_table(found),
    )


@command.command("tune")
@_shared
@click.option("--mode", type=_MODES, default="single", show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(min=1.0),
    default=1000.0,
    show_default=True,
    help="Packets a second.",
)
@click.option(
    "--trials", type=click.IntRange(2, 100), default=6, show_default=True, help="Settings to try."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1.0),
    default=8.0,
    show_default=True,
    help="Length of a run.",
)
@click.option("--pairs", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--history",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where observations are kept, a line each; by default tuning.jsonl under CASCADE_HOME.",
)
def tune_command(history: Path | None, **given: Any) -> None:
    """Tune gathering time and round size from what was measured, and compare with the default.

    A Gaussian process decides what to try, within safe bounds; runs are kept in a file, so that
    each call goes on where the last one ended. Then the best setting found and the default take
    turns. The verdict says whether the tuned setting beats the default: its p99 is lower in each
    pair, and by 5 % in the median.

    Exit code 0: the comparison is valid, whoever won; see the verdict, or "beats" with --json.
    Exit code 1: it is not, since packets were lost, repeated or out of order, a worker was started
    again, or a pair is missing. Warms up as with --quick, unless --full is given.
    """  # fmt: skip
    from pipeline.bench.tuning import Tuned, TuningPlan, tune, tune_table
    from pipeline.watch.forecast import require_forecasts

    require_forecasts()
    names = ("mode", "rate", "trials", "seconds", "pairs", "seed")
    found = Tuned(TuningPlan(**{name: given[name] for name in names}, history=history))
    _run(
        "tune",
        {**given, "pace": given["pace"] or "quick"},
        lambda lab: tune(lab, found),
        lambda: {"tuning": found.to_dict()},
        lambda: tune_table(found),
    )


def _numbers(text: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",")]
    except ValueError as error:
        raise click.UsageError(f"Expected whole numbers with commas, was {text!r}") from error
