-- Format 2: what a table's worker fails on while it is tried again. For people only: nothing is decided by it.

CREATE TABLE troubles (
  source     TEXT NOT NULL,
  database   TEXT NOT NULL,
  name       TEXT NOT NULL,
  generation INTEGER NOT NULL,
  reason     TEXT NOT NULL,
  remedy     TEXT NOT NULL,
  since_ms   INTEGER NOT NULL,
  PRIMARY KEY (source, database, name, generation),
  FOREIGN KEY (source, database, name, generation) REFERENCES tables (source, database, name, generation) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
