"""Accounts: users, organizations, teams, robots, roles, tokens, keys; who owns a repository; the audit."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(collation="C").with_variant(sa.String(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "access_changes",
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("subject", sa.String(length=32), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("revision", "subject", name=op.f("pk_access_changes")),
        comment="What has changed about access, in the order of commits; earlier decisions about a subject are void.",
    )
    op.create_index("ix_access_changes_changed_at", "access_changes", ["changed_at"], unique=False)
    op.create_table(
        "accounts",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("canonical", NAME, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("owner_id", BIG_ID, nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("default_visibility", sa.String(length=16), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(kind = 'robot') = (owner_id IS NOT NULL)", name=op.f("ck_accounts_owner")),
        sa.CheckConstraint("kind IN ('user', 'organization', 'robot')", name=op.f("ck_accounts_kind")),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["accounts.id"], name=op.f("fk_accounts_owner_id_accounts"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("canonical", name=op.f("uq_accounts_canonical")),
        sa.UniqueConstraint("name", name=op.f("uq_accounts_name")),
        comment="Who can own or call. A deleted account keeps its row, so that its name is never given out again.",
        sqlite_autoincrement=True,
    )
    op.create_index("ix_accounts_owner_id", "accounts", ["owner_id"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("credential", sa.Text(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("repository", NAME, nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("target", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        comment="Who did what. Rows are only ever added: triggers refuse everything else.",
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_actor_id", "audit", ["actor", "id"], unique=False)
    op.create_index("ix_audit_at", "audit", ["at"], unique=False)
    op.create_index("ix_audit_repository_id", "audit", ["repository", "id"], unique=False)
    op.create_table(
        "login_failures",
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_login_failures")),
        comment="Failed logins of an account or an address since the window began.",
    )
    op.create_index("ix_login_failures_since", "login_failures", ["since"], unique=False)
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("signs_from", sa.BigInteger(), nullable=False),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
        comment="Keys that sign access tokens, sealed with the instance secret. The newest that has begun signs.",
    )
    op.create_table(
        "members",
        sa.Column("organization_id", BIG_ID, nullable=False),
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("is_owner", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_members_account_id_accounts"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["accounts.id"], name=op.f("fk_members_organization_id_accounts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "account_id", name=op.f("pk_members")),
        comment="Who belongs to an organization. Owners are admins of everything in it.",
    )
    op.create_index("ix_members_account_id", "members", ["account_id"], unique=False)
    op.create_table(
        "teams",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", BIG_ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["accounts.id"], name=op.f("fk_teams_organization_id_accounts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teams")),
        sa.UniqueConstraint("organization_id", "name", name=op.f("uq_teams_organization_id_name")),
        comment="Members of an organization that get roles together.",
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tokens",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=True),
        sa.Column("repositories", sa.Text(), nullable=True),
        sa.Column("parent_id", BIG_ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_from", sa.String(length=64), nullable=True),
        sa.CheckConstraint("kind IN ('personal', 'refresh')", name=op.f("ck_tokens_kind")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_tokens_account_id_accounts"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["tokens.id"], name=op.f("fk_tokens_parent_id_tokens"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_tokens_secret_hash")),
        comment="Random tokens, by hash. A refresh token that was got with a personal one is its child.",
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tokens_account_id_kind_id", "tokens", ["account_id", "kind", "id"], unique=False)
    op.create_index("ix_tokens_expires_at", "tokens", ["expires_at"], unique=False)
    op.create_index("ix_tokens_parent_id", "tokens", ["parent_id"], unique=False)
    op.create_table(
        "grants",
        sa.Column("id", BIG_ID, sa.Identity(always=False), nullable=False),
        sa.Column("account_id", BIG_ID, nullable=True),
        sa.Column("team_id", BIG_ID, nullable=True),
        sa.Column("repository_id", BIG_ID, nullable=True),
        sa.Column("namespace_id", BIG_ID, nullable=True),
        sa.Column("role", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(account_id IS NULL) <> (team_id IS NULL)", name=op.f("ck_grants_to_one")),
        sa.CheckConstraint("(repository_id IS NULL) <> (namespace_id IS NULL)", name=op.f("ck_grants_on_one")),
        sa.CheckConstraint("role BETWEEN 1 AND 3", name=op.f("ck_grants_role")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_grants_account_id_accounts"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["namespace_id"], ["accounts.id"], name=op.f("fk_grants_namespace_id_accounts"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_grants_repository_id_repositories"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_grants_team_id_teams"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
        sa.UniqueConstraint("account_id", "namespace_id", name=op.f("uq_grants_account_id_namespace_id")),
        sa.UniqueConstraint("account_id", "repository_id", name=op.f("uq_grants_account_id_repository_id")),
        sa.UniqueConstraint("team_id", "namespace_id", name=op.f("uq_grants_team_id_namespace_id")),
        sa.UniqueConstraint("team_id", "repository_id", name=op.f("uq_grants_team_id_repository_id")),
        comment="Roles: of an account or a team, on one repository or on a whole namespace.",
        sqlite_autoincrement=True,
    )
    op.create_index("ix_grants_namespace_id", "grants", ["namespace_id"], unique=False)
    op.create_index("ix_grants_repository_id", "grants", ["repository_id"], unique=False)
    op.create_table(
        "team_members",
        sa.Column("team_id", BIG_ID, nullable=False),
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_team_members_account_id_accounts"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_team_members_team_id_teams"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("team_id", "account_id", name=op.f("pk_team_members")),
        comment="Who is in a team: members of its organization and the organization's robots.",
    )
    op.create_index("ix_team_members_account_id", "team_members", ["account_id"], unique=False)
    op.add_column("installation", sa.Column("access_revision", sa.BigInteger(), server_default="0", nullable=False))
    _add_account("repositories", "namespace_id")
    op.add_column(
        "repositories", sa.Column("visibility", sa.String(length=16), server_default="private", nullable=False)
    )
    _add_account("repositories", "created_by")
    op.add_column("repositories", sa.Column("deleted_at", sa.BigInteger(), nullable=True))
    op.create_index("ix_repositories_created_by", "repositories", ["created_by"], unique=False)
    op.create_index("ix_repositories_namespace_id_name", "repositories", ["namespace_id", "name"], unique=False)
    op.create_index("ix_repositories_visibility_name", "repositories", ["visibility", "name"], unique=False)
    _add_account("uploads", "owner_id")
    op.create_index(
        "ix_uploads_owner_id_state_expires_at", "uploads", ["owner_id", "state", "expires_at"], unique=False
    )
    _keep_audit()


def _add_account(table: str, column: str) -> None:
    """A column that refers to an account. SQLite adds a foreign key only together with its column."""
    references = sa.Column(column, BIG_ID, sa.ForeignKey("accounts.id"), nullable=True)
    op.add_column(table, references, inline_references=True)


def _keep_audit() -> None:
    """Rows of the audit can be added and nothing else, whoever asks."""
    if op.get_bind().dialect.name == "sqlite":
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_keeps_{event.lower()} BEFORE {event} ON audit"
                " BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
            )
        # INSERT OR REPLACE deletes a row without telling the trigger above.
        op.execute(
            "CREATE TRIGGER audit_keeps_replace BEFORE INSERT ON audit"
            " WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)"
            " BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
        )
        return
    op.execute(
        "CREATE FUNCTION audit_keeps() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_keeps()"
    )
