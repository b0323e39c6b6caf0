"""`cascade demo`: the whole pipeline with one command."""

import os
import sys
from pathlib import Path

import click

from pipeline.cli.interruption import interruptible
from pipeline.demo.live import LiveView
from pipeline.demo.plan import DemoPlan, Kill
from pipeline.errors import PipelineError
from pipeline.market.faults import FAULTS
from pipeline.settings import load_settings

__all__ = ["command"]

_INTERRUPTED = 130
_FEW_CORES = 2


@click.command("demo")
@click.option("--seconds", type=float, default=20.0, show_default=True, help="Of counted data.")
@click.option("--rate", type=float, default=200.0, show_default=True, help="Records a second.")
@click.option(
    "--source",
    default="sample",
    show_default=True,
    help="sample, synthetic, or a .csv, .csv.gz or .parquet file.",
)
@click.option("--symbols", type=click.IntRange(1, 10_000), help="How many symbols.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of all that is made up.")
@click.option(
    "--faults",
    default="",
    metavar="NAME[=SHARE],...",
    help=f"Spoil some of the data: {', '.join(FAULTS)}; a share is 0.01 unless given.",
)
@click.option(
    "--kill",
    "kills",
    multiple=True,
    metavar="STAGE@SECOND",
    help="Kill a worker (SIGKILL) in mid-flow; may be repeated.",
)
@click.option(
    "--single",
    "mode",
    flag_value="single",
    help="The four stages in one process; the default where there are two cores or fewer.",
)
@click.option("--paired", "mode", flag_value="paired", help="The four stages in two processes.")
@click.option(
    "--apart",
    "mode",
    flag_value="apart",
    help="Each stage in its own process; the default where there are more cores, and with --kill.",
)
@click.option(
    "--partitions",
    type=click.IntRange(1, 64),
    default=lambda: max(1, (os.cpu_count() or 1) // 4),
    help="Partitions of what is keyed by symbol; by default one for every four cores.",
)
@click.option(
    "--warm-up",
    "warm_up_s",
    type=click.FloatRange(0.0, 600.0),
    default=8.0,
    show_default=True,
    help="Seconds of data before that which counts.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="HTML report; by default in the run's folder under CASCADE_HOME.",
)
@click.option("--keep", is_flag=True, help="Leave a broker that the demo started running.")
@click.option(
    "--namespace",
    help="Run in this one, where the rights for it are granted; by default in a fresh one.",
)
@click.option(
    "--lock-step",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Instead: N bars one at a time under the event clock, checked against the same bars worked"
    " off without Kafka.",
)
@click.option(
    "--round-cut",
    type=click.IntRange(1, 100_000),
    default=64,
    show_default=True,
    help="For --lock-step: bars per round in the run without Kafka.",
)
def command(
    seconds: float,
    rate: float,
    source: str,
    symbols: int | None,
    seed: int,
    faults: str,
    kills: tuple[str, ...],
    mode: str | None,
    partitions: int,
    warm_up_s: float,
    json_file: Path | None,
    report_file: Path | None,
    keep: bool,
    namespace: str | None,
    lock_step: int | None,
    round_cut: int,
) -> None:
    """Run the whole pipeline on this machine, show it live, and report on it.

    Finds or starts a broker, starts the workers in a namespace of their own, sends market data, and
    sets against each other what was sent, what came out and what the venue says. Exit code 1 when
    a record is unaccounted for, an order was duplicated, or another check failed.
    """
    few_cores = (os.cpu_count() or 1) <= _FEW_CORES
    mode = mode or ("single" if few_cores and not kills else "apart")
    plan = DemoPlan(
        seconds=seconds,
        rate=rate,
        source=source,
        symbols=symbols,
        seed=seed,
        faults=faults,
        kills=tuple(Kill.parse(text) for text in kills),
        single=mode == "single",
        paired=mode == "paired",
        partitions=partitions,
        warm_up_s=warm_up_s,
        keep=keep,
        namespace=namespace,
        json_file=json_file,
        report_file=report_file,
    )
    with interruptible():
        try:
            passed = _run(plan, lock_step, round_cut)
        except KeyboardInterrupt:
            click.echo("Interrupted; everything that was started has ended.", err=True)
            sys.exit(_INTERRUPTED)
    sys.exit(0 if passed else 1)


def _run(plan: DemoPlan, lock_step: int | None, round_cut: int) -> bool:
    settings = load_settings()
    if lock_step is not None:
        from pipeline.demo.lock_step import run_lock_step

        return run_lock_step(plan, settings, lock_step, round_cut, click.echo)
    from pipeline.demo.conclusion import conclude
    from pipeline.demo.runner import DemoRun, run_demo

    verdicts: list[bool] = []
    title = f"{plan.source} at {plan.rate:g}/s"
    with LiveView(title, plan.seconds) as view:

        def finish(run: DemoRun) -> None:
            verdicts.append(conclude(run, view.say))

        run_demo(plan, settings, view, finish)
    if not verdicts:
        raise PipelineError("Expected the demo to come to an end, did not")
    return verdicts[0]
