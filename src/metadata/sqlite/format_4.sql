-- Format 4: how instants lie in a generation's files, and which of them a DATETIME became. All that older versions wrote are INT64; what zone
-- they read a DATETIME in was not written down.

ALTER TABLE tables ADD COLUMN timestamps_int96 INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tables ADD COLUMN datetimes TEXT;
