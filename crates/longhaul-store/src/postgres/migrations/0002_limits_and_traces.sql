-- Limits of kinds. phase: -1 held back by a limit by key.

ALTER TABLE job ADD COLUMN limit_key int8;         -- a hash; null in the jobs of kinds without such a limit
ALTER TABLE job ADD COLUMN trace text;              -- W3C traceparent of whoever submitted it
CREATE INDEX job_blocked ON job (limit_key, queue, score, no) WHERE phase = -1;
CREATE INDEX job_keyed_ready ON job (limit_key, queue) WHERE phase = 0 AND limit_key IS NOT NULL;
CREATE INDEX job_keyed_running ON job (limit_key) WHERE phase = 3 AND limit_key IS NOT NULL;

ALTER TABLE kind ADD COLUMN limits text COLLATE "C"; -- JSON; null: none

-- What has started of late under a rate, by what it limits: a key, or a kind.
CREATE TABLE pace (
  gate     int8 PRIMARY KEY,
  starts   bytea NOT NULL,                         -- 12 bytes each: the end of a slice of time, and how many
  over_at  int8 NOT NULL,                          -- from then on nothing of it counts
  wakes_at int8                                    -- when jobs that it holds back are looked at
);
CREATE INDEX pace_wakes ON pace (wakes_at) WHERE wakes_at IS NOT NULL;
CREATE INDEX pace_over ON pace (over_at);
