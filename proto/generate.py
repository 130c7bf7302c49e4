"""Generate the message modules in proto/inbond/v1 from the .proto files beside them.

``python -m proto.generate`` writes them; with ``--check`` it writes nothing and fails when they are stale.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
SOURCES = ROOT / "inbond" / "v1"


def generate(target: Path) -> None:
    """Write the modules and their type stubs under `target`; raises RuntimeError when protoc refuses."""
    arguments = ["protoc", f"--proto_path={ROOT}"]
    arguments += [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    sources = sorted(str(path) for path in SOURCES.glob("*.proto"))
    if not sources:
        raise RuntimeError(f"{SOURCES}: holds no .proto file")
    if protoc.main(arguments + sources) != 0:
        raise RuntimeError(f"{SOURCES}: protoc refused a file; its message is above")


def stale() -> list[str]:
    """Names of generated modules that differ from what protoc makes of the sources now."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = sorted(path for path in Path(scratch).rglob("*") if path.is_file())
        names = {str(path.relative_to(scratch)) for path in fresh}
        different = [
            str(path.relative_to(scratch))
            for path in fresh
            if not (here := ROOT / path.relative_to(scratch)).exists() or here.read_bytes() != path.read_bytes()
        ]
    left = [str(path.relative_to(ROOT)) for path in SOURCES.glob("*_pb2*") if str(path.relative_to(ROOT)) not in names]
    return different + left


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the modules are up to date")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    names = stale()
    if names:
        print(f"stale generated modules: {', '.join(names)}; run: make proto", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
