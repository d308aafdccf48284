-- Format 6: by the day of which column a generation's mirror is cut (`partition_by`).

ALTER TABLE tables ADD COLUMN partition_by TEXT;
