-- Format 5: where the days of a source ended, and whose mirrors are frozen then (`daily: true`).

CREATE TABLE days (
  source     TEXT NOT NULL,
  zone       TEXT NOT NULL,                          -- whose calendar it is, by its IANA name
  day        TEXT NOT NULL,                          -- as 2026-11-22
  ended      TEXT NOT NULL,                          -- all transactions of the day start below it, and none that follow
  ended_file TEXT NOT NULL,
  PRIMARY KEY (source, zone, day)
) STRICT, WITHOUT ROWID;

ALTER TABLE tables ADD COLUMN daily INTEGER NOT NULL DEFAULT 0;
