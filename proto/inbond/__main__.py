"""`python -m inbond` is the command line."""

from inbond.cli import main

main()
