-- Format 3: places in the change log instead of offsets alone: the record before each, and the highest term up to it.

ALTER TABLE topic_ends ADD COLUMN last TEXT;                        -- the position of the last record below end_offset
ALTER TABLE topic_ends ADD COLUMN term INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tables RENAME COLUMN start_offsets TO starts;           -- JSON, a place per partition
UPDATE tables SET starts = (
  SELECT json_group_array(json_object('offset', value, 'last', NULL, 'term', 0)) FROM json_each(tables.starts)
);
