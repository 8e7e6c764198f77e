"""Use cases: what a request wants done, on the database and the blob store together."""
