-- Format 4: how instants lie in a generation's files. All that older versions wrote are INT64.

ALTER TABLE tables ADD COLUMN timestamps_int96 INTEGER NOT NULL DEFAULT 0;
