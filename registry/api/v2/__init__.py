"""The distribution API. `routes` has the table; each noun has its own file of handlers."""
