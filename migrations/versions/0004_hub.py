"""The hub: what lists show and order by, pages, stars, counting, sessions and second factors."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(collation="C").with_variant(sa.String(), "sqlite")


def upgrade() -> None:
    # Every repository is due for the tally, which fills in what stands in the new columns.
    op.create_table(
        "sign_ons",
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("pk_sign_ons")),
        comment="Single sign-ons that were answered, until they would have ended: none counts twice.",
    )
    op.create_index("ix_sign_ons_expires_at", "sign_ons", ["expires_at"], unique=False)
    op.create_table(
        "traffic",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("hours", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("begins", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "hours", "begins", name=op.f("pk_traffic")),
        comment="What the instance did in each hour and each day: requests, errors, pulls, pushes, bytes.",
    )
    op.create_index("ix_traffic_hours_begins", "traffic", ["hours", "begins"], unique=False)
    op.create_table(
        "usage",
        sa.Column("namespace_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("repositories", sa.BigInteger(), nullable=False),
        sa.Column("tags", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "day", name=op.f("pk_usage")),
        comment="What was stored at the end of each day since 1970 UTC, by namespace; namespace 0 is all of it.",
    )
    op.create_index("ix_usage_day_size_bytes", "usage", ["day", "size_bytes"], unique=False)
    op.create_table(
        "identities",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_identities_account_id_accounts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_identities")),
        comment="Which account somebody of an identity provider is. name: for people only.",
    )
    op.create_index("ix_identities_account_id", "identities", ["account_id"], unique=False)
    op.create_table(
        "recovery_codes",
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_recovery_codes_account_id_accounts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "code_hash", name=op.f("pk_recovery_codes")),
        comment="Codes for who has lost the second factor; each is removed when it is used.",
    )
    op.create_table(
        "second_factors",
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_second_factors_account_id_accounts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_second_factors")),
        comment="The secrets of one-time codes, sealed with the instance secret, and the last time step that was used.",
    )
    op.create_table(
        "sessions",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("is_complete", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("proved_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_sessions_account_id_accounts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_sessions_secret_hash")),
        comment="Browsers that are signed in, by the hash of what their cookie holds.",
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sessions_account_id_id", "sessions", ["account_id", "id"], unique=False)
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"], unique=False)
    op.create_table(
        "pulls",
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("tag", NAME, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("pulls", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_pulls_repository_id_repositories"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("repository_id", "tag", "digest", "day", name=op.f("pk_pulls")),
        comment="Pulls. Days are counted from 1970 UTC; day 0 holds all time.",
    )
    op.create_index(
        "ix_pulls_day_repository_id_tag_digest", "pulls", ["day", "repository_id", "tag", "digest"], unique=False
    )
    op.create_index(
        "ix_pulls_repository_id_pulls_tag",
        "pulls",
        ["repository_id", "pulls", "tag"],
        unique=False,
        sqlite_where=sa.text("day = 0 AND tag <> ''"),
        postgresql_where=sa.text("day = 0 AND tag <> ''"),
    )
    op.create_table(
        "readmes",
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("markdown", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_readmes_repository_id_repositories"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_readmes")),
        comment="What people write about a repository; apart from it, so that no list reads it.",
    )
    op.create_table(
        "repository_aliases",
        sa.Column("name", NAME, nullable=False),
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_repository_aliases_repository_id_repositories"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_repository_aliases")),
        comment="Former names of repositories, which still pull and push, until their owner gives them up.",
    )
    op.create_index("ix_repository_aliases_repository_id", "repository_aliases", ["repository_id"], unique=False)
    op.create_table(
        "repository_facets",
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("value", NAME, nullable=False),
        sa.CheckConstraint("kind IN ('artifact', 'platform')", name=op.f("ck_repository_facets_kind")),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_repository_facets_repository_id_repositories"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", "kind", "value", name=op.f("pk_repository_facets")),
        comment="The artifact types and platforms that a repository holds, for filters. Worked out by the tally.",
    )
    op.create_index(
        "ix_repository_facets_kind_value_repository_id",
        "repository_facets",
        ["kind", "value", "repository_id"],
        unique=False,
    )
    op.create_table(
        "stars",
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_stars_account_id_accounts"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name=op.f("fk_stars_repository_id_repositories"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account_id", "repository_id", name=op.f("pk_stars")),
        comment="Who likes which repository.",
    )
    op.create_index("ix_stars_repository_id", "stars", ["repository_id"], unique=False)
    _index_audit()
    op.add_column("accounts", sa.Column("title", sa.Text(), server_default="", nullable=False))
    op.add_column("accounts", sa.Column("description", sa.Text(), server_default="", nullable=False))
    op.add_column("manifest_children", sa.Column("platform", sa.String(length=255), nullable=True))
    op.add_column("repositories", sa.Column("description", sa.Text(), server_default="", nullable=False))
    op.add_column("repositories", sa.Column("pushed_at", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("repositories", sa.Column("tag_count", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("repositories", sa.Column("manifest_count", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("repositories", sa.Column("size_bytes", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("repositories", sa.Column("shared_bytes", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("repositories", sa.Column("pull_count", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("repositories", sa.Column("pulled_at", sa.BigInteger(), nullable=True))
    op.add_column("repositories", sa.Column("star_count", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("repositories", sa.Column("tally_at", sa.BigInteger(), server_default="0", nullable=True))
    op.create_index(
        "ix_repositories_namespace_id_pull_count",
        "repositories",
        ["namespace_id", "visibility", "pull_count", "id"],
        unique=False,
    )
    op.create_index(
        "ix_repositories_namespace_id_pushed_at",
        "repositories",
        ["namespace_id", "visibility", "pushed_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_repositories_namespace_id_size_bytes",
        "repositories",
        ["namespace_id", "visibility", "size_bytes", "id"],
        unique=False,
    )
    op.create_index(
        "ix_repositories_namespace_id_star_count",
        "repositories",
        ["namespace_id", "visibility", "star_count", "id"],
        unique=False,
    )
    op.create_index(
        "ix_repositories_tally_at",
        "repositories",
        ["tally_at"],
        unique=False,
        sqlite_where=sa.text("tally_at IS NOT NULL"),
        postgresql_where=sa.text("tally_at IS NOT NULL"),
    )
    op.create_index(
        "ix_repositories_visibility_pull_count", "repositories", ["visibility", "pull_count", "id"], unique=False
    )
    op.create_index(
        "ix_repositories_visibility_pushed_at", "repositories", ["visibility", "pushed_at", "id"], unique=False
    )
    op.create_index(
        "ix_repositories_visibility_size_bytes", "repositories", ["visibility", "size_bytes", "id"], unique=False
    )
    op.create_index(
        "ix_repositories_visibility_star_count", "repositories", ["visibility", "star_count", "id"], unique=False
    )
    op.add_column("tag_history", sa.Column("changed_by", sa.BigInteger(), nullable=True))
    op.create_index("ix_tag_history_repository_id_id", "tag_history", ["repository_id", "id"], unique=False)
    op.create_index(
        "ix_manifests_repository_id_subject_digest_artifact_type",
        "manifests",
        ["repository_id", "subject_digest", "artifact_type"],
        unique=False,
        sqlite_where=sa.text("subject_digest IS NOT NULL"),
        postgresql_where=sa.text("subject_digest IS NOT NULL"),
    )
    op.add_column("tags", sa.Column("updated_by", sa.BigInteger(), nullable=True))
    op.create_index("ix_tags_manifest_id_name", "tags", ["manifest_id", "name"], unique=False)
    op.drop_index("ix_tags_manifest_id", table_name="tags")
    op.add_column("tags", sa.Column("version_key", NAME, nullable=True))
    op.create_index(
        "ix_tags_repository_id_updated_at_name", "tags", ["repository_id", "updated_at", "name"], unique=False
    )
    op.create_index(
        "ix_tags_repository_id_version_key_name", "tags", ["repository_id", "version_key", "name"], unique=False
    )
    op.add_column("teams", sa.Column("external_group", sa.Text(), nullable=True))
    op.create_index("ix_teams_external_group", "teams", ["external_group"], unique=False)
    op.drop_index("ix_repositories_namespace_id_name", table_name="repositories")
    op.create_index(
        "ix_repositories_namespace_id_name", "repositories", ["namespace_id", "visibility", "name"], unique=False
    )
    _add_search()


# What repositories are searched by: their names and descriptions by pieces of three letters, and who may see them, so
# that no search goes through what others hide. Triggers keep it true.


def _add_search() -> None:
    statements = _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL
    for statement in statements.split("\n\n"):
        op.execute(sa.text(statement))


_SQLITE = """
CREATE VIRTUAL TABLE repository_search USING fts5(
    name, description, visibility, owner, content='', contentless_delete=1, tokenize='trigram'
)

CREATE VIEW repository_search_rows AS SELECT
    id,
    '/' || replace(replace(replace(name, '.', '/'), '-', '/'), '_', '/') || '/' AS name,
    description,
    CASE visibility WHEN 'public' THEN 'pub' ELSE 'prv' END AS visibility,
    char(
        19968 + (coalesce(namespace_id, 0) & 4095),
        19968 + ((coalesce(namespace_id, 0) >> 12) & 4095),
        19968 + ((coalesce(namespace_id, 0) >> 24) & 4095)
    ) AS owner
FROM repositories WHERE deleted_at IS NULL

CREATE TRIGGER repository_search_insert AFTER INSERT ON repositories BEGIN
    INSERT INTO repository_search (rowid, name, description, visibility, owner)
    SELECT * FROM repository_search_rows WHERE id = NEW.id;
END

CREATE TRIGGER repository_search_update
AFTER UPDATE OF name, description, visibility, namespace_id, deleted_at ON repositories
WHEN NEW.name IS NOT OLD.name OR NEW.description IS NOT OLD.description OR NEW.visibility IS NOT OLD.visibility
    OR NEW.namespace_id IS NOT OLD.namespace_id OR NEW.deleted_at IS NOT OLD.deleted_at
BEGIN
    DELETE FROM repository_search WHERE rowid = OLD.id;
    INSERT INTO repository_search (rowid, name, description, visibility, owner)
    SELECT * FROM repository_search_rows WHERE id = NEW.id;
END

CREATE TRIGGER repository_search_delete AFTER DELETE ON repositories BEGIN
    DELETE FROM repository_search WHERE rowid = OLD.id;
END

INSERT INTO repository_search (rowid, name, description, visibility, owner) SELECT * FROM repository_search_rows
"""
"""`owner`: the namespace, as three letters that nobody types."""

_POSTGRESQL = """
CREATE EXTENSION IF NOT EXISTS pg_trgm

CREATE TABLE repository_search (
    repository_id BIGINT NOT NULL CONSTRAINT pk_repository_search PRIMARY KEY
        CONSTRAINT fk_repository_search_repository_id_repositories REFERENCES repositories (id) ON DELETE CASCADE,
    seen_by BIGINT[] NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL
)

CREATE INDEX ix_repository_search ON repository_search
USING gin (seen_by, name gin_trgm_ops, description gin_trgm_ops) WITH (fastupdate = off)

CREATE FUNCTION follow_repository() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.deleted_at IS NOT NULL THEN
        DELETE FROM repository_search WHERE repository_id = NEW.id;
    ELSE
        INSERT INTO repository_search VALUES (
            NEW.id,
            array_remove(ARRAY[-1, CASE NEW.visibility WHEN 'public' THEN 0 END, NEW.namespace_id], NULL),
            '/' || translate(NEW.name, '.-_', '///') || '/',
            lower(NEW.description)
        ) ON CONFLICT (repository_id) DO UPDATE
        SET seen_by = excluded.seen_by, name = excluded.name, description = excluded.description;
    END IF;
    RETURN NULL;
END $$

CREATE TRIGGER repository_search
AFTER INSERT OR UPDATE OF name, description, visibility, namespace_id, deleted_at ON repositories
FOR EACH ROW EXECUTE FUNCTION follow_repository()

UPDATE repositories SET name = name
"""
"""`seen_by`: the namespace, 0 for everybody, -1 for admins."""

_KEEPS = (
    "CREATE TRIGGER audit_keeps_update BEFORE UPDATE ON audit"
    " BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
)
_WHOSE = {
    "sqlite": "UPDATE audit SET"
    " namespace = CASE WHEN instr(repository, '/') > 0 THEN substr(repository, 1, instr(repository, '/') - 1) END,"
    " owner = CASE WHEN account_id IS NOT NULL THEN substr(actor, 1, instr(actor || '+', '+') - 1) END",
    "postgresql": "UPDATE audit SET"
    " namespace = CASE WHEN strpos(repository, '/') > 0 THEN split_part(repository, '/', 1) END,"
    " owner = CASE WHEN account_id IS NOT NULL THEN split_part(actor, '+', 1) END",
}


def _index_audit() -> None:
    """Whom a row is about, and who answers for it, as far as rows say that are there already; and an index for each
    filter, in the order of time."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for column in ("namespace", "owner"):
        op.add_column("audit", sa.Column(column, NAME, nullable=True))
    # The audit refuses changes, and this one is ours.
    op.execute("DROP TRIGGER audit_keeps_update" if is_sqlite else "ALTER TABLE audit DISABLE TRIGGER audit_keeps")
    op.get_bind().exec_driver_sql(_WHOSE["sqlite" if is_sqlite else "postgresql"])
    op.execute(_KEEPS if is_sqlite else "ALTER TABLE audit ENABLE TRIGGER audit_keeps")
    for index in ("ix_audit_at", "ix_audit_actor_id", "ix_audit_repository_id"):
        op.drop_index(index, "audit")
    op.create_index("ix_audit_at_id", "audit", ["at", "id"], unique=False)
    for column in ("actor", "action", "repository", "digest", "address", "namespace", "owner"):
        where = None if column in ("actor", "action") else sa.text(f"{column} IS NOT NULL")
        op.create_index(
            f"ix_audit_{column}_at_id",
            "audit",
            [column, "at", "id"],
            unique=False,
            sqlite_where=where,
            postgresql_where=where,
        )
