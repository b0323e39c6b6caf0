"""`python -m pipeline.cli` is `cascade`."""

from pipeline.cli import main

main(prog_name="cascade")
