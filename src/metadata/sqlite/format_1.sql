-- Format 1 of binlake's metadata store. Read it with the sqlite3 shell; begin with:  SELECT * FROM overview;
-- Positions are `epoch:binlog file number:offset`. Documents are JSON.

CREATE TABLE leases (
  resource TEXT NOT NULL PRIMARY KEY,                -- e.g. source/shop
  term     INTEGER NOT NULL,                         -- grows with every take-over; a write of an older term is refused
  holder   TEXT,                                     -- NULL: given back
  process  INTEGER,
  taken_at TEXT NOT NULL DEFAULT (datetime('now'))   -- UTC, for people only
) STRICT;

CREATE TABLE sources (
  name                     TEXT NOT NULL PRIMARY KEY,
  epoch                    INTEGER NOT NULL,
  published                TEXT,                     -- everything that starts below it is in the change log
  published_file           TEXT,
  published_source_time_us INTEGER,
  stopped_reason           TEXT,                     -- NULL: it works
  stopped_remedy           TEXT,
  stopped_resumable        INTEGER,
  stopped_at_ms            INTEGER,
  checkpoint               TEXT                      -- document: where the tailer goes on
) STRICT;

CREATE TABLE topic_ends (                            -- the change log's ends as of `published`
  source     TEXT NOT NULL,
  topic      TEXT NOT NULL,
  partition  INTEGER NOT NULL,
  end_offset INTEGER NOT NULL,
  PRIMARY KEY (source, topic, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE schemas (                               -- every shape that a table was captured in
  source      TEXT NOT NULL,
  database    TEXT NOT NULL,
  name        TEXT NOT NULL,
  version     INTEGER NOT NULL,                      -- 1, 2, … per table
  fingerprint TEXT NOT NULL,                         -- what records of the change log name it by
  document    TEXT NOT NULL,
  saved_at    TEXT NOT NULL DEFAULT (datetime('now')),
  PRIMARY KEY (source, database, name, version)
) STRICT;

CREATE TABLE tables (                                -- one row per generation
  source           TEXT NOT NULL,
  database         TEXT NOT NULL,
  name             TEXT NOT NULL,
  generation       INTEGER NOT NULL,
  mode             TEXT NOT NULL,
  phase            TEXT NOT NULL GENERATED ALWAYS AS (json_extract(phase_document, '$.phase')) VIRTUAL,
  capture          TEXT NOT NULL CHECK (capture IN ('wanted', 'on', 'ended')),
  since            TEXT,                             -- every change behind it is in the change log …
  captured_until   TEXT,                             -- … but not what starts at or behind this, if it is set
  handoff          TEXT GENERATED ALWAYS AS (coalesce(json_extract(phase_document, '$.handoff'),
                     json_extract(phase_document, '$.before.handoff'), json_extract(phase_document, '$.before.before.handoff'))) VIRTUAL,
  reason           TEXT GENERATED ALWAYS AS (json_extract(phase_document, '$.parked.reason')) VIRTUAL,
  remedy           TEXT GENERATED ALWAYS AS (json_extract(phase_document, '$.parked.remedy')) VIRTUAL,
  into_database    TEXT NOT NULL,
  into_table       TEXT NOT NULL,
  layout_single    INTEGER NOT NULL,                 -- 1: the mirror is one segment, whatever its size
  topic            TEXT NOT NULL,
  start_offsets    TEXT NOT NULL,                    -- document: where this generation's records start, per partition
  planned_all      INTEGER NOT NULL,                 -- 1: no more chunks will be planned
  listed           INTEGER NOT NULL,                 -- 0: no longer in the YAML; it stands still and is kept
  schema_version   INTEGER NOT NULL,
  phase_document   TEXT NOT NULL,
  since_checkpoint TEXT,                             -- document: what had to be visible before the first chunk was read
  visible          TEXT,                             -- document: how the server showed it
  plan             TEXT,                             -- document: how the snapshot is cut
  PRIMARY KEY (source, database, name, generation),
  FOREIGN KEY (source, database, name, schema_version) REFERENCES schemas (source, database, name, version)
) STRICT;

CREATE TABLE chunks (
  source     TEXT NOT NULL,
  database   TEXT NOT NULL,
  name       TEXT NOT NULL,
  generation INTEGER NOT NULL,
  chunk      INTEGER NOT NULL,                       -- from 0, in key order
  state      TEXT NOT NULL GENERATED ALWAYS AS (iif(high IS NULL, iif(attempts = 0, 'planned', 'started'), 'done')) VIRTUAL,
  attempts   INTEGER NOT NULL,
  high       TEXT,                                   -- nothing that was read lies behind it
  rows       INTEGER,
  done_at_ms INTEGER,
  files      TEXT,                                   -- document: the lake files
  range      TEXT NOT NULL,                          -- document: lower < key <= upper
  PRIMARY KEY (source, database, name, generation, chunk),
  FOREIGN KEY (source, database, name, generation) REFERENCES tables (source, database, name, generation) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE requests (                              -- pause, resume, rebuild: asked on the command line, not taken up yet
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  source   TEXT NOT NULL,
  database TEXT NOT NULL,
  name     TEXT NOT NULL,
  kind     TEXT NOT NULL CHECK (kind IN ('pause', 'resume', 'rebuild')),
  asked_at TEXT NOT NULL DEFAULT (datetime('now'))
) STRICT;

CREATE VIEW overview AS                              -- the newest generation of every table
SELECT t.source, t.database || '.' || t.name AS "table", t.generation, t.phase, t.capture,
       (SELECT count(*) FROM chunks c WHERE (c.source, c.database, c.name, c.generation)
          = (t.source, t.database, t.name, t.generation) AND c.state = 'done') AS chunks_done,
       (SELECT count(*) FROM chunks c WHERE (c.source, c.database, c.name, c.generation)
          = (t.source, t.database, t.name, t.generation)) AS chunks_planned,
       t.planned_all, t.since, t.handoff, s.published, t.reason, t.remedy
FROM tables t LEFT JOIN sources s ON s.name = t.source
WHERE t.generation = (SELECT max(n.generation) FROM tables n WHERE (n.source, n.database, n.name) = (t.source, t.database, t.name))
ORDER BY t.source, t.database, t.name;

CREATE VIEW snapshot AS                              -- every chunk with its bounds as people read them
SELECT source, database || '.' || name AS "table", generation, chunk, state, attempts, rows, high,
       datetime(done_at_ms / 1000, 'unixepoch') AS done_at, range
FROM chunks ORDER BY source, database, name, generation, chunk;
