"""The catalog's tables, and how a catalog of an older version gets them."""

import sqlite3

from . import sealing

NEWEST = 5
SEALED = 4  # the first with checksums of settings and labels

META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum BLOB) WITHOUT ROWID;"
LABELS = "CREATE TABLE labels (digest BLOB PRIMARY KEY, label TEXT NOT NULL, checksum BLOB) WITHOUT ROWID;"

TABLES = f"""
{META}
CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice
    path NOT NULL,                  -- text; bytes where a name is not UTF-8
    size INTEGER NOT NULL,          -- bytes
    mtime_ns INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    error TEXT,                     -- why the file cannot be used, or NULL
    digest BLOB,                    -- SHA-256 of the file's bytes
    width INTEGER, height INTEGER,  -- pixels, upright
    format TEXT,
    taken TEXT,                     -- YYYY-MM-DDTHH:MM:SS by the camera's clock, or NULL
    checksum BLOB,                  -- of all that is stored of the file (checksums.py); NULL before schema 3
    UNIQUE (path, generation)
);
CREATE TABLE vectors (item INTEGER PRIMARY KEY REFERENCES items ON DELETE CASCADE, vector BLOB NOT NULL);
CREATE TABLE thumbnails (item INTEGER PRIMARY KEY REFERENCES items ON DELETE CASCADE, jpeg BLOB NOT NULL);
CREATE TABLE roots (path PRIMARY KEY) WITHOUT ROWID;
{LABELS}
"""
SHARD_TABLES = f"""
{META}
CREATE TABLE items (
    id INTEGER PRIMARY KEY,         -- first of its shard + row
    path NOT NULL,                  -- text; bytes where a name is not UTF-8
    size INTEGER NOT NULL,          -- bytes
    mtime_ns INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    error TEXT,                     -- why there is no vector, or NULL
    digest BLOB,                    -- SHA-256 of the file's bytes
    width INTEGER, height INTEGER,  -- pixels, upright
    format TEXT,
    taken TEXT                      -- YYYY-MM-DDTHH:MM:SS by the camera's clock, or NULL
);
CREATE INDEX items_path ON items (path);
CREATE INDEX items_failed ON items (path) WHERE error IS NOT NULL;
CREATE TABLE shards (
    first INTEGER PRIMARY KEY,      -- id of its first row
    name TEXT NOT NULL,
    identity TEXT NOT NULL,         -- of its footer
    rows INTEGER NOT NULL,
    images INTEGER,                 -- rows with a vector; NULL until its rows are in
    source TEXT NOT NULL,           -- what was named to be indexed
    part INTEGER NOT NULL,          -- which partial index it goes into
    generation INTEGER NOT NULL
);
CREATE TABLE row_groups (
    first INTEGER PRIMARY KEY,      -- id of its first row
    rows INTEGER NOT NULL,
    shard INTEGER NOT NULL,         -- its first id
    vectors_at INTEGER NOT NULL,    -- byte of the first vector
    thumbnails_at INTEGER NOT NULL,
    thumbnails BLOB NOT NULL        -- uint32 offset and bytes of each
);
CREATE TABLE roots (path PRIMARY KEY) WITHOUT ROWID;
{LABELS}
"""
# labels belong to content: a file that is moved, or forgotten and found again, keeps its own

_STEPS = {
    1: (
        "ALTER TABLE items ADD COLUMN taken TEXT",
        "CREATE TABLE labels (digest BLOB PRIMARY KEY, label TEXT NOT NULL) WITHOUT ROWID",
    ),
    2: ("ALTER TABLE items ADD COLUMN checksum BLOB",),  # filled by the next --verify
    3: ("ALTER TABLE meta ADD COLUMN checksum BLOB", "ALTER TABLE labels ADD COLUMN checksum BLOB"),
    4: (),  # vectors may be 16-bit integers (vector_bytes.py), which older versions cannot read
}


def migrate(db: sqlite3.Connection, *, first: int = 1) -> None:
    """Bring an older catalog to the newest schema in one transaction.

    Args:
        db: The catalog.
        first: Steps below it are left out; a sharded collection's items never had what they change.
    """
    db.execute("BEGIN IMMEDIATE")  # another process may be about to do the same
    with db:
        (stored,) = db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
        for step in range(max(int(stored), first), NEWEST):
            for statement in _STEPS[step]:
                db.execute(statement)
        newest = str(max(int(stored), NEWEST))
        if int(stored) < SEALED:
            db.execute("UPDATE meta SET value = ? WHERE key = 'schema'", [newest])
            sealing.seal(db)
        else:
            sealing.put(db, "schema", newest)
