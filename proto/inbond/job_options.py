"""Options and arguments that several commands on jobs share."""

from pathlib import Path
from typing import Annotated

import typer

SHORT = 12  # characters of a job's id that tables and hints show
Job = Annotated[str, typer.Argument(help="The job's id, or its first characters.")]
Out = Annotated[Path | None, typer.Option("--out", help="Write the result here; the ending says how.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file of --out where there is one.")]
