"""Bytes: where content lives. `base` has the contract, each other module is one back end of it."""
