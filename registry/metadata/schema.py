"""The tables. `migrations/` brings a database here; a test compares the two.

Conventions: ids are BIGINT and never given out twice; digests are packed bytes (`Digest.pack`); times are BIGINT
milliseconds since 1970 UTC; names compare byte by byte. Nothing here belongs to one database engine.
Lock order of writing transactions: repositories, tags, manifests, blobs, repository_blobs, uploads, objects, outbox.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

BigId = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows only in a column declared INTEGER, which holds 64 bits there."""

Name = String(collation="C").with_variant(String(), "sqlite")
"""Text that sorts byte by byte: the C collation, and what SQLite does by itself."""


def _id() -> "Column[int]":
    return Column("id", BigId, Identity(always=False), primary_key=True)


installation = Table(
    "installation",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("identity", String(64), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single"),
    comment="One row: the id that the blob store carries too, so that a wrong pair is noticed at start.",
)

repositories = Table(
    "repositories",
    metadata,
    _id(),
    Column("name", Name, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

objects = Table(
    "objects",
    metadata,
    _id(),
    Column("state", String(16), nullable=False),
    Column("digest", LargeBinary, nullable=True),
    Column("size", BigInteger, nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Column("dead_at", BigInteger, nullable=True),
    Column("corrupt_at", BigInteger, nullable=True),
    CheckConstraint("state IN ('uploading', 'live', 'dead')", name="state"),
    Index("ix_objects_state_dead_at", "state", "dead_at"),
    comment="What the blob store holds or held. uploading -> live -> dead, or uploading -> dead; dead is the end.",
    sqlite_autoincrement=True,
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("object_id", BigId, ForeignKey("objects.id", ondelete="RESTRICT"), nullable=False, unique=True),
    Column("protect_until", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    comment="Content that can be had, once for the whole registry, and the lease before which it is not collected.",
)

repository_blobs = Table(
    "repository_blobs",
    metadata,
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="RESTRICT"), primary_key=True),
    Column("digest", LargeBinary, ForeignKey("blobs.digest", ondelete="RESTRICT"), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_repository_blobs_digest", "digest"),
    comment="Which repository shows which blob.",
)

manifests = Table(
    "manifests",
    metadata,
    _id(),
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="RESTRICT"), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("media_type", String(255), nullable=False),
    Column("artifact_type", Text, nullable=True),
    Column("payload_size", BigInteger, nullable=False),
    Column("total_size", BigInteger, nullable=False),
    Column("depth", Integer, nullable=False),
    Column("platforms", Text, nullable=True),
    Column("config_summary", Text, nullable=True),
    Column("subject_digest", LargeBinary, nullable=True),
    Column("subject_id", BigId, ForeignKey("manifests.id", ondelete="SET NULL"), nullable=True),
    Column("pushed_at", BigInteger, nullable=False),
    Column("referrer_descriptor", Text, nullable=True),
    Column("payload", LargeBinary, nullable=False),
    UniqueConstraint("repository_id", "digest"),
    Index("ix_manifests_repository_id_subject_digest", "repository_id", "subject_digest"),
    Index("ix_manifests_subject_id", "subject_id"),
    comment="Manifests with their exact bytes. What a listing shows is worked out once, at push.",
    sqlite_autoincrement=True,
)

manifest_blobs = Table(
    "manifest_blobs",
    metadata,
    Column("manifest_id", BigId, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("repository_id", BigId, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("linked_digest", LargeBinary, nullable=True),
    ForeignKeyConstraint(
        ["repository_id", "linked_digest"],
        ["repository_blobs.repository_id", "repository_blobs.digest"],
        ondelete="RESTRICT",
    ),
    Index("ix_manifest_blobs_repository_id_digest", "repository_id", "digest"),
    Index("ix_manifest_blobs_repository_id_linked_digest", "repository_id", "linked_digest"),
    Index("ix_manifest_blobs_linked_digest", "linked_digest"),
    comment="manifest -> blob. linked_digest repeats digest once the repository has the blob, NULL before.",
)

manifest_children = Table(
    "manifest_children",
    metadata,
    Column("parent_id", BigId, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("repository_id", BigId, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("child_id", BigId, ForeignKey("manifests.id", ondelete="SET NULL"), nullable=True),
    Index("ix_manifest_children_repository_id_digest", "repository_id", "digest"),
    Index("ix_manifest_children_child_id", "child_id"),
    comment="index -> manifest. child_id is NULL while the repository does not hold the child.",
)

tags = Table(
    "tags",
    metadata,
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="RESTRICT"), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("manifest_id", BigId, ForeignKey("manifests.id", ondelete="RESTRICT"), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("ix_tags_manifest_id", "manifest_id"),
    comment="The live tags. version counts the changes of this name in this repository.",
)

tag_history = Table(
    "tag_history",
    metadata,
    _id(),
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="CASCADE"), nullable=False),
    Column("name", Name, nullable=False),
    Column("digest", LargeBinary, nullable=True),
    Column("version", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    UniqueConstraint("repository_id", "name", "version"),
    comment="Every change of every tag, appended and never changed. digest is NULL where the tag was deleted.",
    sqlite_autoincrement=True,
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="RESTRICT"), nullable=False),
    Column("object_id", BigId, ForeignKey("objects.id", ondelete="RESTRICT"), nullable=True),
    Column("state", String(16), nullable=False),
    Column("algorithm", SmallInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("checkpoint_digest", LargeBinary, nullable=True),
    Column("checkpoint_boot_id", String(64), nullable=True),
    Column("finished_digest", LargeBinary, nullable=True),
    Column("epoch", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    CheckConstraint("state IN ('open', 'finalizing', 'finished')", name="state"),
    Index("ix_uploads_expires_at", "expires_at"),
    Index("ix_uploads_repository_id", "repository_id"),
    Index("ix_uploads_object_id", "object_id"),
    comment="Uploads in progress, and for a while the finished ones, so that a repeated request gets its answer.",
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    Column("created_at", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Index("ix_outbox_created_at", "created_at"),
    comment="Committed changes, in order, for whoever wants to be told.",
    sqlite_autoincrement=True,
)
