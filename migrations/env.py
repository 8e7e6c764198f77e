"""Run by Alembic: applies the revisions in `versions/` on the connection that `registry.metadata.migrate` hands in.

The caller owns the transaction: all revisions of one upgrade commit together, or none does.
"""

from alembic import context

from registry.metadata.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
