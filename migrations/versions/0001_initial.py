"""The first schema: repositories, blobs and objects, manifests and edges, tags, uploads, outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(collation="C").with_variant(sa.String(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("identity", sa.String(length=64), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_installation_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
        comment="One row: the id that the blob store carries too, so that a wrong pair is noticed at start.",
    )
    op.create_table(
        "objects",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("dead_at", sa.BigInteger(), nullable=True),
        sa.Column("corrupt_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('uploading', 'live', 'dead')", name=op.f("ck_objects_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_objects")),
        comment="What the blob store holds or held. uploading -> live -> dead, or uploading -> dead; dead is the end.",
        sqlite_autoincrement=True,
    )
    op.create_index("ix_objects_state_dead_at", "objects", ["state", "dead_at"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        comment="Committed changes, in order, for whoever wants to be told.",
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_created_at", "outbox", ["created_at"], unique=False)
    op.create_table(
        "repositories",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repositories")),
        sa.UniqueConstraint("name", name=op.f("uq_repositories_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "blobs",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("object_id", BIG_ID, nullable=False),
        sa.Column("protect_until", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["object_id"], ["objects.id"], name=op.f("fk_blobs_object_id_objects"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_blobs")),
        sa.UniqueConstraint("object_id", name=op.f("uq_blobs_object_id")),
        comment="Content that can be had, once for the whole registry, and the lease before which it is not collected.",
    )
    op.create_table(
        "manifests",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("media_type", sa.String(length=255), nullable=False),
        sa.Column("artifact_type", sa.Text(), nullable=True),
        sa.Column("payload_size", sa.BigInteger(), nullable=False),
        sa.Column("total_size", sa.BigInteger(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("platforms", sa.Text(), nullable=True),
        sa.Column("config_summary", sa.Text(), nullable=True),
        sa.Column("subject_digest", sa.LargeBinary(), nullable=True),
        sa.Column("subject_id", BIG_ID, nullable=True),
        sa.Column("pushed_at", sa.BigInteger(), nullable=False),
        sa.Column("referrer_descriptor", sa.Text(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_manifests_repository_id_repositories"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["subject_id"],
            ["manifests.id"],
            name=op.f("fk_manifests_subject_id_manifests"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manifests")),
        sa.UniqueConstraint("repository_id", "digest", name=op.f("uq_manifests_repository_id_digest")),
        comment="Manifests with their exact bytes. What a listing shows is worked out once, at push.",
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_manifests_repository_id_subject_digest",
        "manifests",
        ["repository_id", "subject_digest"],
        unique=False,
    )
    op.create_index("ix_manifests_subject_id", "manifests", ["subject_id"], unique=False)
    op.create_table(
        "tag_history",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_tag_history_repository_id_repositories"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tag_history")),
        sa.UniqueConstraint("repository_id", "name", "version", name=op.f("uq_tag_history_repository_id_name_version")),
        comment="Every change of every tag, appended and never changed. digest is NULL where the tag was deleted.",
        sqlite_autoincrement=True,
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("object_id", BIG_ID, nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("algorithm", sa.SmallInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint_digest", sa.LargeBinary(), nullable=True),
        sa.Column("checkpoint_boot_id", sa.String(length=64), nullable=True),
        sa.Column("finished_digest", sa.LargeBinary(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'finalizing', 'finished')", name=op.f("ck_uploads_state")),
        sa.ForeignKeyConstraint(
            ["object_id"], ["objects.id"], name=op.f("fk_uploads_object_id_objects"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_uploads_repository_id_repositories"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        comment="Uploads in progress, and for a while the finished ones, so that a repeated request gets its answer.",
    )
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"], unique=False)
    op.create_index("ix_uploads_object_id", "uploads", ["object_id"], unique=False)
    op.create_index("ix_uploads_repository_id", "uploads", ["repository_id"], unique=False)
    op.create_table(
        "manifest_children",
        sa.Column("parent_id", BIG_ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("child_id", BIG_ID, nullable=True),
        sa.ForeignKeyConstraint(
            ["child_id"],
            ["manifests.id"],
            name=op.f("fk_manifest_children_child_id_manifests"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["manifests.id"],
            name=op.f("fk_manifest_children_parent_id_manifests"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("parent_id", "digest", name=op.f("pk_manifest_children")),
        comment="index -> manifest. child_id is NULL while the repository does not hold the child.",
    )
    op.create_index("ix_manifest_children_child_id", "manifest_children", ["child_id"], unique=False)
    op.create_index(
        "ix_manifest_children_repository_id_digest",
        "manifest_children",
        ["repository_id", "digest"],
        unique=False,
    )
    op.create_table(
        "repository_blobs",
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["digest"], ["blobs.digest"], name=op.f("fk_repository_blobs_digest_blobs"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_repository_blobs_repository_id_repositories"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("repository_id", "digest", name=op.f("pk_repository_blobs")),
        comment="Which repository shows which blob.",
    )
    op.create_index("ix_repository_blobs_digest", "repository_blobs", ["digest"], unique=False)
    op.create_table(
        "tags",
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("manifest_id", BIG_ID, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_tags_manifest_id_manifests"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_tags_repository_id_repositories"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("repository_id", "name", name=op.f("pk_tags")),
        comment="The live tags. version counts the changes of this name in this repository.",
    )
    op.create_index("ix_tags_manifest_id", "tags", ["manifest_id"], unique=False)
    op.create_table(
        "manifest_blobs",
        sa.Column("manifest_id", BIG_ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("linked_digest", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["manifest_id"],
            ["manifests.id"],
            name=op.f("fk_manifest_blobs_manifest_id_manifests"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["repository_id", "linked_digest"],
            ["repository_blobs.repository_id", "repository_blobs.digest"],
            name=op.f("fk_manifest_blobs_repository_id_linked_digest_repository_blobs"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("manifest_id", "digest", name=op.f("pk_manifest_blobs")),
        comment="manifest -> blob. linked_digest repeats digest once the repository has the blob, NULL before.",
    )
    op.create_index("ix_manifest_blobs_linked_digest", "manifest_blobs", ["linked_digest"], unique=False)
    op.create_index(
        "ix_manifest_blobs_repository_id_digest", "manifest_blobs", ["repository_id", "digest"], unique=False
    )
    op.create_index(
        "ix_manifest_blobs_repository_id_linked_digest",
        "manifest_blobs",
        ["repository_id", "linked_digest"],
        unique=False,
    )
    # ### end Alembic commands ###
