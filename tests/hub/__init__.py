"""The hub: its REST API over HTTP."""
