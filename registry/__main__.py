"""`python -m registry` is `depotry`."""

from registry.cli import main

main()
