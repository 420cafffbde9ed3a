-- Times are microseconds since 1970 UTC. Payloads stand beside the rows that change, and are written once.
-- phase: 0 ready, 1 deferred, 2 running, 3 waiting, 4 succeeded, 5 failed, 6 cancelled.

CREATE TABLE job (
  no                  INTEGER PRIMARY KEY,
  tenant              TEXT NOT NULL,
  id                  BLOB NOT NULL,
  kind                TEXT NOT NULL,
  queue               TEXT NOT NULL,
  rank                INTEGER NOT NULL,          -- its place among those that may run: smaller goes first
  priority            INTEGER NOT NULL,
  phase               INTEGER NOT NULL,
  version             INTEGER NOT NULL,
  attempt             INTEGER NOT NULL,
  crashes             INTEGER NOT NULL,
  last_seq            INTEGER NOT NULL,
  created_at          INTEGER NOT NULL,
  max_attempts        INTEGER NOT NULL,
  backoff_initial_ms  INTEGER NOT NULL,
  backoff_max_ms      INTEGER NOT NULL,
  retention           INTEGER NOT NULL,          -- microseconds
  run_at              INTEGER,
  deadline_at         INTEGER,
  attempt_timeout     INTEGER,                   -- microseconds
  metadata            TEXT,
  retry_of            BLOB,
  queued_for          INTEGER,                   -- 0 turn, 1 schedule, 2 retry, 3 park, 4 resume
  due_at              INTEGER,
  same_attempt        INTEGER,
  token               INTEGER,
  worker              TEXT,
  in_process          INTEGER,
  stage               INTEGER,                   -- 0 validating, 1 executing, 2 cancelling
  lease_since         INTEGER,                   -- waiting: since when
  lease_expires_at    INTEGER,
  started_at          INTEGER,
  finished_at         INTEGER,
  cancel_requested_at INTEGER,
  progress_fraction   REAL,
  progress_message    TEXT,
  error               TEXT,                      -- JSON
  ending              INTEGER,                   -- of the last attempt, once the job has ended
  ambiguous           INTEGER,
  report              TEXT,                      -- JSON; null: as if nothing was reported
  -- From here on null in most rows, which costs them a byte each.
  parent              BLOB,                      -- the id of a job of the same tenant
  child_index         INTEGER,
  depth               INTEGER,
  on_child_failure    INTEGER,                   -- 1 fail; null: partial
  children_total      INTEGER,
  children_submitted  INTEGER,
  children_succeeded  INTEGER,
  children_failed     INTEGER,
  children_cancelled  INTEGER,
  answers             INTEGER,                   -- how many are kept
  last_step_seq       INTEGER,
  last_delta_seq      INTEGER,
  last_reset_seq      INTEGER,
  wait                INTEGER,                   -- 0 children, 1 input
  wait_step           TEXT,
  wait_prompt         TEXT,
  trimmed             INTEGER                   -- how many deltas retention has removed
) STRICT;

-- Finds a job by its id and lists a tenant's jobs by time: ids are UUIDv7.
CREATE UNIQUE INDEX job_id ON job (tenant, id);
CREATE INDEX job_ready ON job (queue, kind, tenant, rank) WHERE phase = 0;
CREATE INDEX job_deferred ON job (due_at) WHERE phase = 1;
-- Two keys only, so that entries are small and compared as numbers: few jobs run or wait at a time.
CREATE INDEX job_active ON job (phase) WHERE phase IN (2, 3);
CREATE INDEX job_unhappy ON job (tenant, id) WHERE phase >= 5;
CREATE INDEX job_deadline ON job (deadline_at) WHERE deadline_at IS NOT NULL AND phase IN (0, 1, 3);
CREATE INDEX job_child ON job (parent, child_index) WHERE parent IS NOT NULL;
CREATE INDEX job_child_live ON job (parent, child_index) WHERE parent IS NOT NULL AND phase < 4;

-- `blob` instead of `data` when the payload is in the blob store: SHA-256 and size.
CREATE TABLE input  (no INTEGER PRIMARY KEY, data BLOB, blob BLOB) STRICT;
CREATE TABLE output (no INTEGER PRIMARY KEY, data BLOB, blob BLOB) STRICT;

-- type: 1 queued, 2 running, 3 progress, 4 step, 5 log, 6 succeeded, 7 failed, 8 cancelled, 9 waiting, 11 reset,
-- 12 layer; 10 is a delta, which stands in a table of its own.
CREATE TABLE event (
  no      INTEGER NOT NULL,
  seq     INTEGER NOT NULL,
  type    INTEGER NOT NULL,
  time    INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  number  INTEGER,                               -- queued, waiting: what for; log: level; reset: keep through
  at      INTEGER,                               -- queued: due at
  real    REAL,                                  -- progress: fraction
  text    TEXT,                                  -- running: worker; progress, log: message; step, waiting: step; layer: JSON
  error   TEXT,                                  -- queued, failed: JSON; waiting: prompt
  PRIMARY KEY (no, seq)
) STRICT, WITHOUT ROWID;

-- Rows are appended, whoever streams; their index is small. kind: 0 text, 1 items as a JSON array.
CREATE TABLE delta (
  id      INTEGER PRIMARY KEY,
  no      INTEGER NOT NULL,
  seq     INTEGER NOT NULL,
  time    INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  kind    INTEGER NOT NULL,
  data    TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX delta_of ON delta (no, seq);

-- Attempts after which the job went on. The last attempt stands in the job's row.
CREATE TABLE attempt (
  no         INTEGER NOT NULL,
  lease      INTEGER NOT NULL,
  number     INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at   INTEGER NOT NULL,
  worker     TEXT NOT NULL,
  ending     INTEGER NOT NULL,
  error      TEXT,
  ambiguous  INTEGER NOT NULL,
  PRIMARY KEY (no, lease)
) STRICT, WITHOUT ROWID;

CREATE TABLE step (
  id   INTEGER PRIMARY KEY,
  no   INTEGER NOT NULL,
  name TEXT NOT NULL,
  data BLOB,
  blob BLOB,
  UNIQUE (no, name)
) STRICT;

-- Answers that nobody has asked for yet, in the order of their coming.
CREATE TABLE answer (id INTEGER PRIMARY KEY, no INTEGER NOT NULL, data BLOB, blob BLOB) STRICT;
CREATE INDEX answer_of ON answer (no);

CREATE TABLE idempotency (
  tenant      TEXT NOT NULL,
  route       TEXT NOT NULL,
  key         BLOB NOT NULL,
  fingerprint BLOB NOT NULL,
  jobs        BLOB NOT NULL,                     -- 16 bytes each
  keep_until  INTEGER NOT NULL,
  PRIMARY KEY (tenant, route, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keep ON idempotency (keep_until);

-- One row for all jobs of a commit whose retention ends together: 8 bytes each, little-endian `no`. deltas: 1 when only
-- what they have streamed goes.
CREATE TABLE expiry (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, jobs BLOB NOT NULL, deltas INTEGER) STRICT;
CREATE INDEX expiry_at ON expiry (at);

CREATE TABLE tombstone (
  tenant      TEXT NOT NULL,
  id          BLOB NOT NULL,
  status      INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  erased      INTEGER NOT NULL,
  gone_at     INTEGER NOT NULL,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

-- How many rows refer to a blob.
CREATE TABLE blob_use (digest BLOB PRIMARY KEY, size INTEGER NOT NULL, uses INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE queue (name TEXT PRIMARY KEY, paused INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE kind (tenant TEXT NOT NULL, name TEXT NOT NULL, spec TEXT NOT NULL, PRIMARY KEY (tenant, name))
  STRICT, WITHOUT ROWID;

CREATE TABLE api_key (
  id          BLOB PRIMARY KEY,
  tenant      TEXT NOT NULL,
  name        TEXT NOT NULL,
  scopes      TEXT NOT NULL,                     -- separated by spaces
  secret_hash BLOB NOT NULL,
  created_at  INTEGER NOT NULL,
  expires_at  INTEGER,
  revoked_at  INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE document (
  tenant       TEXT NOT NULL,
  id           BLOB NOT NULL,
  file_name    TEXT NOT NULL,
  content_type TEXT,
  content      BLOB NOT NULL,
  job          BLOB NOT NULL,
  created_at   INTEGER NOT NULL,
  PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE document_part (
  tenant TEXT NOT NULL,
  id     BLOB NOT NULL,
  part   TEXT NOT NULL,
  data   BLOB,
  blob   BLOB,
  UNIQUE (tenant, id, part)
) STRICT;

-- The next job's number, at least: written when jobs are removed, so that no number is given twice.
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
