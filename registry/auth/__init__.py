"""Credentials: their forms, how they are made and checked. Knows no database."""
