"""Credentials, without a database."""
