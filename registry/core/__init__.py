"""Rules and value types. Pure: no I/O, no async, nothing but the standard library."""
