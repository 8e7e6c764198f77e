"""Credentials: tokens, passwords, scopes. Knows no database. There is no login yet, so there is nothing here."""
