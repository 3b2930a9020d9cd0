"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[Path | None, typer.Option(help="The folder of a running `dialer up`.  [default: .dialer]")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Speed = Annotated[float, typer.Option(help="How much faster than life the simulated network runs.", min=0.1)]
