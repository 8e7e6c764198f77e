"""Limits that are part of the product. What an operator may change is a setting in `config.py`."""

MIB = 1024 * 1024

NAME_MAX_CHARS = 255
MANIFEST_MAX_BYTES = 4 * MIB
MANIFEST_MAX_REFERENCES = 16_384
"""Descriptors in one manifest: bounds the rows that one push writes."""
MANIFEST_MAX_VALUES = 250_000
"""JSON values in one manifest: bounds the memory and the time of reading it."""
MANIFESTS_HELD_BYTES = 24 * MIB
"""Bodies of manifests that are arriving, all together, in one process."""
PARSE_INLINE_BYTES = 64 * 1024
"""Larger manifests are read in a thread, so that nobody waits for them."""
INDEX_MAX_DEPTH = 32
"""Indexes of indexes. Real ones have two levels."""
CONFIG_MAX_BYTES = 1 * MIB
"""An image config over this is stored like any blob, but not summarised."""
SHOWN_PARTS_MAX = 1_000
"""Layers of an image, or parts of an index, that are shown of one."""
SHOWN_TEXT_MAX_BYTES = 1 * MIB
"""A manifest or config over this is not shown as text: it can be pulled."""
TAGS_PER_PUSH = 100
PAGE_MAX = 10_000
"""The most entries that `n` can ask for; the rest follows by `Link`."""
CATALOG_PAGE_DEFAULT = 1_000
TAGS_UNPAGED_MAX = 100_000
"""Entries of a tag list without `n`, which clients expect to be whole."""
REFERRERS_PAGE_BYTES = 4_000_000
"""Size of a page of referrers: clients read at most 4 MiB and some do not follow `Link`."""
REFERRER_MAX_BYTES = 1 * MIB
"""A referrer over this is listed without its annotations."""
ERROR_DETAIL_MAX = 100
"""Missing references named in one error."""
CHUNK_BYTES = 1 * MIB
"""Bytes moved by one hop to a thread."""
SIZE_MAX = 2**63 - 1
TOKEN_SCOPES_MAX = 64
"""Scopes in one request for a token: each costs a query and makes the token longer."""
ACCESS_STALE_S = 5.0
"""A revocation holds everywhere within this; what cannot be checked against newer changes is refused."""
CHANGES_POLL_S = 1.0
CHANGES_KEPT_MS = 24 * 3_600_000
"""How long changes of access are remembered: longer than any access token lives."""
CHANGES_KNOWN = 200_000
"""Subjects of changes in the memory of one worker."""
LOGINS_PER_WINDOW = 1000
LOGINS_WINDOW_MS = 900_000
"""Logins that one account may begin in this time and that are to be remembered."""
PASSWORD_MIN_CHARS = 8
PASSWORD_MAX_BYTES = 1024
CREDENTIALS_CACHED = 10_000
CREDENTIALS_CACHED_S = 300.0
TICKETS_CACHED = 4096
TICKET_CACHED_MAX_CHARS = 4096
TICKET_MAX_CHARS = 16_384
"""An access token over this is refused unread."""
FACTS_CACHED = 10_000
FORM_MAX_BYTES = 64 * 1024
FORM_FIELDS_MAX = 64
REFRESH_TOKENS_PER_ACCOUNT = 100
"""Logins that are remembered; the oldest is forgotten for a new one."""
TOKENS_PER_ACCOUNT = 1000
PULLS_KEPT = 10_000
"""Manifests and days of which pulls are in the memory of one worker until they are written down."""
PULLS_PER_FLUSH = 500
"""Of which they are written down in one transaction: a few tens of milliseconds on SQLite, where others wait."""
INDEXES_REMEMBERED_MS = 60_000
"""Who has pulled an index pulls what it names within this."""
INDEXES_REMEMBERED_BYTES = 4 * MIB
INDEX_REMEMBERED_MAX_BYTES = 256 * 1024
INDEXES_PER_CALLER = 8
"""Indexes that one caller pulls at once from one repository."""
ALIASES_PER_REPOSITORY = 32
"""Former names that one repository keeps from others."""
SESSIONS_PER_ACCOUNT = 100
"""Browsers that are signed in; the oldest is signed out for a new one."""
SESSIONS_CACHED = 10_000
SESSION_SEEN_EACH_MS = 60_000
"""How often it is written down that a session is in use."""
SIGN_IN_MS = 600_000
"""The time between the password and the one-time code, or that somebody may spend at the identity provider."""
PROOF_MS = 600_000
"""How long after showing who one is, dangerous things can be done."""
USER_AGENT_MAX_CHARS = 200
CODE_FAILURES_PER_ACCOUNT = 5
"""Wrong one-time codes in the window of failed logins, after a right password each: a code is one of a million, three
count at a time."""
RETURN_TO_MAX_CHARS = 512
SEARCH_MAX_CHARS = 200
SEARCH_WORDS_MAX = 8
LIST_PAGE_DEFAULT = 25
NUMBERED_MAX = 1_000
"""Entries that can be had by the number of a page, which costs all pages before it; cursors go on behind them."""
LIST_PAGE_MAX = 100
"""Entries of a page of the hub's lists."""
DESCRIPTION_MAX_CHARS = 500
TITLE_MAX_CHARS = 100
README_MAX_BYTES = 256 * 1024
ORGANIZATIONS_PER_USER = 100
"""That one user owns, unless it is an admin of the instance."""
BULK_MAX = 100
"""Repositories that one call changes or deletes."""
