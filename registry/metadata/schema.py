"""The tables. `migrations/` brings a database here; a test compares the two.

Conventions: ids are BIGINT and never given out twice; digests are packed bytes (`Digest.pack`); times are BIGINT
milliseconds since 1970 UTC; names compare byte by byte; who did something (`…_by`) is an account, which keeps its row
for ever. Nothing here belongs to one database engine.
Lock order of writing transactions: installation (its revision), storage_moves, accounts, login_failures and tokens,
sessions, second_factors, recovery_codes, identities, sign_ons, repositories, tags, manifests, blobs, repository_blobs,
uploads, objects, transfers, pulls, traffic, usage, jobs, outbox, audit; rows of one table in the order of their keys.
Advisory locks are in `locks`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
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
    text,
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

_ORDERS = ("pushed_at", "pull_count", "star_count", "size_bytes")
_PLACES = (("visibility",), ("namespace_id", "visibility"))
"""Lists of repositories: what they are ordered by, and what each way of being allowed to see one begins with."""

BigId = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows only in a column declared INTEGER, which holds 64 bits there."""

Name = String(collation="C").with_variant(String(), "sqlite")
"""Text that sorts byte by byte: the C collation, and what SQLite does by itself."""


def _audit_index(column: str, *, is_partial: bool = False) -> Index:
    """In the order of the audit's pages; a partial one has no entries for rows in which the column is empty."""
    where = text(f"{column} IS NOT NULL") if is_partial else None
    return Index(f"ix_audit_{column}_at_id", column, "at", "id", sqlite_where=where, postgresql_where=where)


def _id() -> "Column[int]":
    return Column("id", BigId, Identity(always=False), primary_key=True)


installation = Table(
    "installation",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("identity", String(64), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("access_revision", BigInteger, nullable=False, server_default="0"),
    Column("moved_to", Text, nullable=True),
    Column("moved_at", BigInteger, nullable=True),
    CheckConstraint("id = 1", name="single"),
    comment="One row: the id that the blob store carries too, so that a wrong pair is noticed at start.",
)
"""`moved_to`: where the database goes or has gone, without password. Since `moved_at` nothing can be written here."""

incoming = Table(
    "incoming",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("identity", String(64), nullable=False),
    Column("position", Text, nullable=False),
    Column("began_at", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single"),
    comment="One row while another database is copied into this one: how far (JSON). Nobody may serve meanwhile.",
)

storage_moves = Table(
    "storage_moves",
    metadata,
    _id(),
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("began_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger, nullable=True),
    comment="Blobs on their way from one store to another. Until the end either of the two may hold any blob.",
    sqlite_autoincrement=True,
)

accounts = Table(
    "accounts",
    metadata,
    _id(),
    Column("name", Name, nullable=False, unique=True),
    Column("canonical", Name, nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("owner_id", BigId, ForeignKey("accounts.id", ondelete="RESTRICT"), nullable=True),
    Column("password_hash", Text, nullable=True),
    Column("is_admin", Boolean, nullable=False),
    Column("default_visibility", String(16), nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger, nullable=True),
    Column("deleted_at", BigInteger, nullable=True),
    Column("title", Text, nullable=False, server_default=""),
    Column("description", Text, nullable=False, server_default=""),
    CheckConstraint("kind IN ('user', 'organization', 'robot')", name="kind"),
    CheckConstraint("(kind = 'robot') = (owner_id IS NOT NULL)", name="owner"),
    Index("ix_accounts_owner_id", "owner_id"),
    comment="Who can own or call. A deleted account keeps its row, so that its name is never given out again.",
    sqlite_autoincrement=True,
)

members = Table(
    "members",
    metadata,
    Column("organization_id", BigId, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", BigId, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("is_owner", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_members_account_id", "account_id"),
    comment="Who belongs to an organization. Owners are admins of everything in it.",
)

teams = Table(
    "teams",
    metadata,
    _id(),
    Column("organization_id", BigId, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("name", Name, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("external_group", Text, nullable=True),
    UniqueConstraint("organization_id", "name"),
    Index("ix_teams_external_group", "external_group"),
    comment="Members of an organization that get roles together.",
    sqlite_autoincrement=True,
)
"""`external_group`: the group of single sign-on whose members are the members of the team."""

team_members = Table(
    "team_members",
    metadata,
    Column("team_id", BigId, ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", BigId, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_team_members_account_id", "account_id"),
    comment="Who is in a team: members of its organization and the organization's robots.",
)

repositories = Table(
    "repositories",
    metadata,
    _id(),
    Column("name", Name, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("namespace_id", BigId, ForeignKey("accounts.id"), nullable=True),
    Column("visibility", String(16), nullable=False, server_default="private"),
    Column("created_by", BigId, ForeignKey("accounts.id"), nullable=True),
    Column("deleted_at", BigInteger, nullable=True),
    Column("description", Text, nullable=False, server_default=""),
    Column("pushed_at", BigInteger, nullable=False, server_default="0"),
    Column("tag_count", BigInteger, nullable=False, server_default="0"),
    Column("manifest_count", BigInteger, nullable=False, server_default="0"),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("shared_bytes", BigInteger, nullable=False, server_default="0"),
    Column("pull_count", BigInteger, nullable=False, server_default="0"),
    Column("pulled_at", BigInteger, nullable=True),
    Column("star_count", BigInteger, nullable=False, server_default="0"),
    Column("tally_at", BigInteger, nullable=True, server_default="0"),
    Index("ix_repositories_namespace_id_name", "namespace_id", "visibility", "name"),
    Index("ix_repositories_visibility_name", "visibility", "name"),
    Index("ix_repositories_created_by", "created_by"),
    *(Index(f"ix_repositories_{by[0]}_{order}", *by, order, "id") for by in _PLACES for order in _ORDERS),
    Index(
        "ix_repositories_tally_at",
        "tally_at",
        sqlite_where=text("tally_at IS NOT NULL"),
        postgresql_where=text("tally_at IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)
"""`namespace_id` is NULL for what belongs to the instance. One that was deleted has lost its name, and is emptied.

What a list shows and orders by stands here, worked out from what the repository holds: with each push, pull and star
where that is cheap, and by the tally, which counts again from `tally_at` on what has changed (NULL: nothing has).
`size_bytes`: each blob once, with manifests; `shared_bytes`: those of it that other repositories show too.
Triggers keep `repository_search` (see `search`) like it: on PostgreSQL its rows are locked behind those here."""

readmes = Table(
    "readmes",
    metadata,
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("markdown", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", BigInteger, nullable=True),
    comment="What people write about a repository; apart from it, so that no list reads it.",
)

repository_facets = Table(
    "repository_facets",
    metadata,
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("value", Name, primary_key=True),
    CheckConstraint("kind IN ('artifact', 'platform')", name="kind"),
    Index("ix_repository_facets_kind_value_repository_id", "kind", "value", "repository_id"),
    comment="The artifact types and platforms that a repository holds, for filters. Worked out by the tally.",
)

repository_aliases = Table(
    "repository_aliases",
    metadata,
    Column("name", Name, primary_key=True),
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_repository_aliases_repository_id", "repository_id"),
    comment="Former names of repositories, which still pull and push, until their owner gives them up.",
)

stars = Table(
    "stars",
    metadata,
    Column("account_id", BigId, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_stars_repository_id", "repository_id"),
    comment="Who likes which repository.",
)

grants = Table(
    "grants",
    metadata,
    _id(),
    Column("account_id", BigId, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=True),
    Column("team_id", BigId, ForeignKey("teams.id", ondelete="CASCADE"), nullable=True),
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="CASCADE"), nullable=True),
    Column("namespace_id", BigId, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=True),
    Column("role", SmallInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("role BETWEEN 1 AND 3", name="role"),
    CheckConstraint("(account_id IS NULL) <> (team_id IS NULL)", name="to_one"),
    CheckConstraint("(repository_id IS NULL) <> (namespace_id IS NULL)", name="on_one"),
    UniqueConstraint("account_id", "repository_id"),
    UniqueConstraint("account_id", "namespace_id"),
    UniqueConstraint("team_id", "repository_id"),
    UniqueConstraint("team_id", "namespace_id"),
    Index("ix_grants_repository_id", "repository_id"),
    Index("ix_grants_namespace_id", "namespace_id"),
    comment="Roles: of an account or a team, on one repository or on a whole namespace.",
    sqlite_autoincrement=True,
)

tokens = Table(
    "tokens",
    metadata,
    _id(),
    Column("account_id", BigId, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False, unique=True),
    Column("scopes", Text, nullable=True),
    Column("repositories", Text, nullable=True),
    Column("parent_id", BigId, ForeignKey("tokens.id", ondelete="CASCADE"), nullable=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=True),
    Column("last_used_at", BigInteger, nullable=True),
    Column("last_used_from", String(64), nullable=True),
    CheckConstraint("kind IN ('personal', 'refresh')", name="kind"),
    Index("ix_tokens_account_id_kind_id", "account_id", "kind", "id"),
    Index("ix_tokens_parent_id", "parent_id"),
    Index("ix_tokens_expires_at", "expires_at"),
    comment="Random tokens, by hash. A refresh token that was got with a personal one is its child.",
    sqlite_autoincrement=True,
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("signs_from", BigInteger, nullable=False),
    Column("retired_at", BigInteger, nullable=True),
    comment="Keys that sign access tokens, sealed with the instance secret. The newest that has begun signs.",
)

access_changes = Table(
    "access_changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("subject", String(32), primary_key=True),
    Column("changed_at", BigInteger, nullable=False),
    Index("ix_access_changes_changed_at", "changed_at"),
    comment="What has changed about access, in the order of commits; earlier decisions about a subject are void.",
)

login_failures = Table(
    "login_failures",
    metadata,
    Column("subject", String(128), primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("since", BigInteger, nullable=False),
    Index("ix_login_failures_since", "since"),
    comment="Failed logins of an account or an address since the window began.",
)

audit = Table(
    "audit",
    metadata,
    _id(),
    Column("at", BigInteger, nullable=False),
    Column("account_id", BigInteger, nullable=True),
    Column("actor", Text, nullable=False),
    Column("credential", Text, nullable=False),
    Column("address", String(64), nullable=True),
    Column("action", String(64), nullable=False),
    Column("repository", Name, nullable=True),
    Column("digest", LargeBinary, nullable=True),
    Column("target", Text, nullable=True),
    Column("namespace", Name, nullable=True),
    Column("owner", Name, nullable=True),
    Index("ix_audit_at_id", "at", "id"),
    *(_audit_index(column) for column in ("actor", "action")),
    *(_audit_index(column, is_partial=True) for column in ("repository", "digest", "address", "namespace", "owner")),
    comment="Who did what. Rows are only ever added: triggers refuse everything else.",
    sqlite_autoincrement=True,
)
"""`namespace`: the account whose repository, team, robot or token this is about. `owner`: the account that did it, or
whose robot. Each filter has an index in the order of the pages."""

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
    Column("review_at", BigInteger, nullable=True, server_default="0"),
    Index(
        "ix_blobs_review_at",
        "review_at",
        sqlite_where=text("review_at IS NOT NULL"),
        postgresql_where=text("review_at IS NOT NULL"),
    ),
    comment="Content that can be had, once for the whole registry, and the lease before which it is not collected.",
)
"""`review_at`: when collection looks whether anything still refers to it, NULL once it has seen that something does.
Whoever takes a reference away, or lengthens the lease, sets it again in the same statement."""

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
    Index("ix_manifests_repository_id_subject_digest_id", "repository_id", "subject_digest", "id"),
    Index("ix_manifests_subject_id", "subject_id"),
    Index(
        "ix_manifests_repository_id_subject_digest_artifact_type",
        "repository_id",
        "subject_digest",
        "artifact_type",
        sqlite_where=text("subject_digest IS NOT NULL"),
        postgresql_where=text("subject_digest IS NOT NULL"),
    ),
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
    Column("platform", String(255), nullable=True),
    Column("child_id", BigId, ForeignKey("manifests.id", ondelete="SET NULL"), nullable=True),
    Index("ix_manifest_children_repository_id_digest", "repository_id", "digest"),
    Index("ix_manifest_children_child_id", "child_id"),
    comment="index -> manifest. child_id is NULL while the repository does not hold the child.",
)
"""`platform`: as the index says, `os/architecture[/variant]`; NULL where it says nothing, or did
before this column was."""

tags = Table(
    "tags",
    metadata,
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="RESTRICT"), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("manifest_id", BigId, ForeignKey("manifests.id", ondelete="RESTRICT"), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("updated_by", BigInteger, nullable=True),
    Column("version_key", Name, nullable=True),
    Index("ix_tags_manifest_id_name", "manifest_id", "name"),
    Index("ix_tags_repository_id_updated_at_name", "repository_id", "updated_at", "name"),
    Index("ix_tags_repository_id_version_key_name", "repository_id", "version_key", "name"),
    comment="The live tags. version counts the changes of this name in this repository.",
)
"""`version_key`: sorts as versions do (1.10 after 1.9), empty for what is none; NULL until the tally has worked it out.
`updated_by`, and `changed_by` of the history, are ids of accounts, whose rows never go: no foreign keys, which would
want an index each, and so a write more for each push."""

tag_history = Table(
    "tag_history",
    metadata,
    _id(),
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="CASCADE"), nullable=False),
    Column("name", Name, nullable=False),
    Column("digest", LargeBinary, nullable=True),
    Column("version", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", BigInteger, nullable=True),
    UniqueConstraint("repository_id", "name", "version"),
    Index("ix_tag_history_repository_id_id", "repository_id", "id"),
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
    Column("owner_id", BigId, ForeignKey("accounts.id"), nullable=True),
    CheckConstraint("state IN ('open', 'finalizing', 'finished')", name="state"),
    Index("ix_uploads_expires_at", "expires_at"),
    Index("ix_uploads_repository_id_id", "repository_id", "id"),
    Index("ix_uploads_object_id", "object_id"),
    Index("ix_uploads_owner_id_state_expires_at", "owner_id", "state", "expires_at"),
    comment="Uploads in progress, and for a while the finished ones, so that a repeated request gets its answer.",
)

transfers = Table(
    "transfers",
    metadata,
    Column("upload_id", String(32), primary_key=True),
    Column("object_id", BigId, nullable=False, unique=True),
    Column("epoch", BigInteger, nullable=False),
    Column("leased_until", BigInteger, nullable=False),
    Column("multipart_id", Text, nullable=True),
    Column("tail_epoch", BigInteger, nullable=True),
    Column("tail_size", BigInteger, nullable=False),
    Column("hash_state", LargeBinary, nullable=True),
    Column("committed_digest", LargeBinary, nullable=True),
    Column("committed_size", BigInteger, nullable=True),
    Column("created_at", BigInteger, nullable=False),
    comment="What an object store knows of an upload: who holds it, its parts, its tail, its running hash.",
)
"""Rows outlive their upload until what they name is removed from the store; so nothing here is a foreign key."""

transfer_parts = Table(
    "transfer_parts",
    metadata,
    Column("upload_id", String(32), ForeignKey("transfers.upload_id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("etag", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    comment="The parts of a multipart upload that the object store has acknowledged.",
)

jobs = Table(
    "jobs",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", String(64), nullable=True),
    Column("leased_until", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("last_error", Text, nullable=True),
    Column("started_at", BigInteger, nullable=True),
    Column("finished_at", BigInteger, nullable=True),
    Column("result", Text, nullable=True),
    comment="Background work, one row a kind: who does it now, when it is due again, what became of it (JSON).",
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

# Counting and statistics

pulls = Table(
    "pulls",
    metadata,
    Column("repository_id", BigId, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("tag", Name, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("pulls", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Index("ix_pulls_day_repository_id_tag_digest", "day", "repository_id", "tag", "digest"),
    Index(
        "ix_pulls_repository_id_pulls_tag",
        "repository_id",
        "pulls",
        "tag",
        sqlite_where=text("day = 0 AND tag <> ''"),
        postgresql_where=text("day = 0 AND tag <> ''"),
    ),
    comment="Pulls. Days are counted from 1970 UTC; day 0 holds all time.",
)
"""A row is about a tag (`digest` empty), a digest (`tag` empty), or the whole repository (both empty)."""

traffic = Table(
    "traffic",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("hours", Integer, primary_key=True, autoincrement=False),
    Column("begins", Integer, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
    Index("ix_traffic_hours_begins", "hours", "begins"),
    comment="What the instance did in each hour and each day: requests, errors, pulls, pushes, bytes.",
)
"""`hours`: 1 or 24, how long it is about; `begins`: the hour since 1970 UTC with which that begins."""

usage = Table(
    "usage",
    metadata,
    Column("namespace_id", BigId, primary_key=True, autoincrement=False),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("repositories", BigInteger, nullable=False),
    Column("tags", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Index("ix_usage_day_size_bytes", "day", "size_bytes"),
    comment="What was stored at the end of each day since 1970 UTC, by namespace; namespace 0 is all of it.",
)
"""Of each day the thousand namespaces that hold most; -1 is what has no owner. `size_bytes`: the sum over repositories,
`stored_bytes`: each blob once, as the store has it; 0 but for all of it."""

# Signing in to the pages

sessions = Table(
    "sessions",
    metadata,
    _id(),
    Column("account_id", BigId, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("secret_hash", LargeBinary, nullable=False, unique=True),
    Column("is_complete", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("proved_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("address", String(64), nullable=True),
    Column("user_agent", Text, nullable=False),
    Index("ix_sessions_account_id_id", "account_id", "id"),
    Index("ix_sessions_expires_at", "expires_at"),
    comment="Browsers that are signed in, by the hash of what their cookie holds.",
    sqlite_autoincrement=True,
)
"""`is_complete` is false between the password and the second factor. `proved_at`: when the person last showed
who it is."""

second_factors = Table(
    "second_factors",
    metadata,
    Column("account_id", BigId, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("confirmed_at", BigInteger, nullable=True),
    comment="The secrets of one-time codes, sealed with the instance secret, and the last time step that was used.",
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("account_id", BigId, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("code_hash", LargeBinary, primary_key=True),
    comment="Codes for who has lost the second factor; each is removed when it is used.",
)

identities = Table(
    "identities",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("account_id", BigId, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Index("ix_identities_account_id", "account_id"),
    comment="Which account somebody of an identity provider is. name: for people only.",
)

sign_ons = Table(
    "sign_ons",
    metadata,
    Column("state_hash", LargeBinary, primary_key=True),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_sign_ons_expires_at", "expires_at"),
    comment="Single sign-ons that were answered, until they would have ended: none counts twice.",
)
"""Those that are under way are in nobody's table: who begins a thousand writes nothing."""
