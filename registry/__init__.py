"""Depotry: an OCI registry. `registry/README.md` is the map of this package."""

__version__ = "0.2.0"
