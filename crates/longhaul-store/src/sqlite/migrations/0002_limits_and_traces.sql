-- Limits of kinds. phase: -1 held back by a limit by key.

ALTER TABLE job ADD COLUMN limit_key INTEGER;   -- a hash; null in the jobs of kinds without such a limit
ALTER TABLE job ADD COLUMN trace TEXT;                   -- W3C traceparent of whoever submitted it

DROP INDEX job_deadline;
CREATE INDEX job_deadline ON job (deadline_at) WHERE deadline_at IS NOT NULL AND phase IN (-1, 0, 1, 3);
CREATE INDEX job_blocked ON job (limit_key, queue, rank) WHERE phase = -1;

-- What has started of late under a rate, by what it limits: a key, or a kind.
CREATE TABLE pace (
  gate     INTEGER PRIMARY KEY,
  starts   BLOB NOT NULL,                         -- 12 bytes each: the end of a slice of time, and how many
  over_at  INTEGER NOT NULL,                      -- from then on nothing of it counts
  wakes_at INTEGER                                -- when jobs that it holds back are looked at
) STRICT;
CREATE INDEX pace_wakes ON pace (wakes_at) WHERE wakes_at IS NOT NULL;
CREATE INDEX pace_over ON pace (over_at);
