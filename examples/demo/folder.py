"""The demo's folder: made for one run, refused where it is somebody else's, removed at the end."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inbond.errors import ConfigError

MARKER = ".inbond-demo"


@contextmanager
def run_folder(path: Path, *, keep: bool) -> Iterator[Path]:
    """An empty folder at `path`, held by this process; removed at the end unless `keep`.

    What an earlier demo kept there is replaced. Raises ConfigError where the folder is not a demo's, or a demo runs
    in it.
    """
    marker = path / MARKER
    if path.exists() and not marker.is_file() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError("is not the folder of a demo", where=str(path), right="start the demo in another folder")
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with marker.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError("a demo runs in it", where=str(path), right="let it end first") from None
        _empty(path)
        try:
            yield path
        finally:
            if not keep:
                shutil.rmtree(path)


def _empty(path: Path) -> None:
    for child in path.iterdir():
        if child.name == MARKER:
            continue
        if child.is_dir():
            shutil.rmtree(child)
        else:
            child.unlink()
