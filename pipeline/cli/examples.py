"""An example of each command, shown at the end of its `--help`."""

import click

__all__ = ["EXAMPLES", "EXIT_CODES", "illustrate"]

EXIT_CODES = """\b
Exit codes:
  0  done, or all is well
  1  the answer is no: it differs, failed or was refused, or what was named is not there
  2  it cannot be told or done: the command line, settings or files are wrong, or no broker answers
Errors are one sentence with what to do; --debug shows where they come from. With NO_COLOR set
nothing is coloured.
"""

_WHO = "--author mary --reason 'looks wrong'"

EXAMPLES: dict[str, tuple[str, ...]] = {
    "alerts": ("alerts",),
    "alerts acknowledge": ("alerts acknowledge 1f0c9a",),
    "alerts list": ("alerts list --json",),
    "alerts rules": ("alerts rules",),
    "alerts set": ("alerts set cascade.latency",),
    "alerts show": ("alerts show 1f0c9a",),
    "alerts silence": ("alerts silence",),
    "alerts test": ("alerts test",),
    "audit export": ("audit export audit.jsonl",),
    "audit list": ("audit list --kind finding --json",),
    "audit show": ("audit show 17",),
    "audit verify": ("audit verify --against-topics", "audit verify --file audit.jsonl"),
    "availability": ("availability --faults faults.json --json",),
    "bench": ("bench --quick",),
    "bench forward": ("bench forward",),
    "bench growth": ("bench growth",),
    "bench halt": ("bench halt --json",),
    "bench isolate": ("bench isolate",),
    "bench lanes": ("bench lanes", "bench lanes --capacity 1500 --json"),
    "bench latency": ("bench latency",),
    "bench overload": ("bench overload",),
    "bench price": ("bench price",),
    "bench replay": ("bench replay",),
    "bench soak": ("bench soak",),
    "bench sustained": ("bench sustained",),
    "bench takeover": ("bench takeover",),
    "bench tune": ("bench tune --json",),
    "bench watch": ("bench watch --json",),
    "broker down": ("broker down",),
    "broker status": ("broker status --json",),
    "broker up": ("broker up",),
    "completion": ("completion bash > ~/.local/share/bash-completion/completions/cascade",),
    "config show": ("config show", "--set performance.target_latency_ms=80 config show --json"),
    "control bootstrap": ("control bootstrap --author operator --reason 'first start'",),
    "control breaker open": (f"control breaker open tactical {_WHO}",),
    "control breaker reset": ("control breaker reset tactical --author operator --reason mended",),
    "control halt": (f"control halt {_WHO}", f"control halt --local {_WHO}"),
    "control isolate": (f"control isolate symbol:ACME {_WHO}",),
    "control reduce": (f"control reduce {_WHO}",),
    "control release": ("control release symbol:ACME --author operator --reason 'feed is back'",),
    "control reset": ("control reset throttle:ACME --author operator --reason checked",),
    "control resume": ("control resume --lifts 17 --author operator --reason 'feed is back'",),
    "control status": ("control status --json",),
    "dashboard": ("dashboard --port 8765",),
    "demo": ("demo --seconds 20 --rate 200",),
    "dlq discard": ("dlq discard cascade.market:2:4711 --execute --author mary --reason 'a test'",),
    "dlq list": ("dlq list --json",),
    "dlq replay": ("dlq replay --cause VALIDATION",),
    "dlq show": ("dlq show cascade.market:2:4711",),
    "doctor": ("doctor", "doctor --symptom latency", "doctor --symptom all --json"),
    "emergency": ("emergency",),
    "emergency acknowledge": ("emergency acknowledge 1f0c9a --author mary --note 'on it'",),
    "emergency declare": ("emergency declare SYSTEM_FAILURE WARNING --description 'it hangs'",),
    "emergency resolve": ("emergency resolve 1f0c9a --author operator",),
    "emergency show": ("emergency show 1f0c9a",),
    "emergency status": ("emergency status --json",),
    "flow": ("flow 1f0c9a --symbol ACME --json",),
    "health": ("health risk --live",),
    "keys list": ("keys list --json",),
    "keys new": ("keys new operator-1 --purpose control --author operator",),
    "keys revoke": ("keys revoke operator-1 --by mary",),
    "keys rotate": ("keys rotate operator-1 --grace-s 600",),
    "metrics": ("metrics --seconds 60", "metrics --report --json"),
    "publish": ("publish --source sample --rate 200 --seconds 30",),
    "replay": ("replay --topic cascade.market --execute --local",),
    "run": ("run", "run risk execution", "run --paired --no-emergency"),
    "scaling": ("scaling --json",),
    "schemas check": ("schemas check --json",),
    "schemas history": ("schemas history ExecutionPlan",),
    "schemas record": ("schemas record",),
    "schemas register": ("schemas register --dry-run",),
    "status": ("status --json",),
    "topics apply": ("topics apply", "topics apply --acls --allow-repartition cascade.alerts"),
    "topics asyncapi": ("topics asyncapi > cascade.yaml", "topics asyncapi --json"),
    "topics diff": ("topics diff --json",),
    "topics export": ("topics export > live.yaml",),
    "topics list": ("topics list", "--set namespace=blue topics list --json"),
    "topics plan": ("topics plan --acls --json", "topics plan --out plan.json"),
    "topics validate": ("topics validate --file topics.yaml",),
    "users add": ("users add mary --role risk-officer",),
    "users list": ("users list --json",),
    "users password": ("users password mary --password-stdin < password.txt",),
    "users remove": ("users remove mary",),
    "users role": ("users role mary operator",),
    "validate": ("validate --shallow --json",),
    "versions": ("versions --json",),
}
"""Path of each command to what is typed behind `cascade`."""


def illustrate(command: click.Command, path: str) -> None:
    """Have the help of a command, and of those below it, end with their examples.

    Args:
        command: The command.
        path: How it is called, without `cascade`.
    """
    lines = [f"  cascade {example}" for example in EXAMPLES.get(path, ())]
    if lines and not command.epilog:
        command.epilog = "\n".join(["\b", "Examples:", *lines])
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            illustrate(inner, f"{path} {name}")
