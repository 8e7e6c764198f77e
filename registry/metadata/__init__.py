"""Facts: SQL, and nothing but SQL. One file of query functions a noun; each takes the connection first."""
