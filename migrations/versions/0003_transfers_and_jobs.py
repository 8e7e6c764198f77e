"""Uploads to an object store, background work, when a blob is looked at for collection, and moves."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=True),
        sa.Column("leased_until", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_jobs")),
        comment="Background work, one row a kind: who does it now, when it is due again, what became of it (JSON).",
    )
    op.create_table(
        "transfers",
        sa.Column("upload_id", sa.String(length=32), nullable=False),
        sa.Column("object_id", BIG_ID, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("leased_until", sa.BigInteger(), nullable=False),
        sa.Column("multipart_id", sa.Text(), nullable=True),
        sa.Column("tail_epoch", sa.BigInteger(), nullable=True),
        sa.Column("tail_size", sa.BigInteger(), nullable=False),
        sa.Column("hash_state", sa.LargeBinary(), nullable=True),
        sa.Column("committed_digest", sa.LargeBinary(), nullable=True),
        sa.Column("committed_size", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", name=op.f("pk_transfers")),
        sa.UniqueConstraint("object_id", name=op.f("uq_transfers_object_id")),
        comment="What an object store knows of an upload: who holds it, its parts, its tail, its running hash.",
    )
    op.create_table(
        "transfer_parts",
        sa.Column("upload_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["transfers.upload_id"],
            name=op.f("fk_transfer_parts_upload_id_transfers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("upload_id", "number", name=op.f("pk_transfer_parts")),
        comment="The parts of a multipart upload that the object store has acknowledged.",
    )
    op.create_table(
        "incoming",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("identity", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_incoming_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incoming")),
        comment="One row while another database is copied into this one: how far (JSON). Nobody may serve meanwhile.",
    )
    op.create_table(
        "storage_moves",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_storage_moves")),
        comment="Blobs on their way from one store to another. Until the end either of the two may hold any blob.",
        sqlite_autoincrement=True,
    )
    op.add_column("installation", sa.Column("moved_to", sa.Text(), nullable=True))
    op.add_column("installation", sa.Column("moved_at", sa.BigInteger(), nullable=True))
    # Counted by the newer version only; for it, what the previous one has counted still runs.
    op.add_column("login_failures", sa.Column("failed", sa.Integer(), nullable=False, server_default="0"))
    # Referrers are listed by id.
    op.create_index(
        "ix_manifests_repository_id_subject_digest_id",
        "manifests",
        ["repository_id", "subject_digest", "id"],
        unique=False,
    )
    op.drop_index("ix_manifests_repository_id_subject_digest", "manifests")
    # In the order in which they are locked when their repository goes.
    op.create_index("ix_uploads_repository_id_id", "uploads", ["repository_id", "id"], unique=False)
    op.drop_index("ix_uploads_repository_id", "uploads")
    op.add_column("blobs", sa.Column("review_at", sa.BigInteger(), nullable=True, server_default="0"))
    # 0: what is stored already, and what the previous version stores while both run, is looked at once.
    some = sa.text("review_at IS NOT NULL")
    op.create_index(
        "ix_blobs_review_at", "blobs", ["review_at"], unique=False, sqlite_where=some, postgresql_where=some
    )
