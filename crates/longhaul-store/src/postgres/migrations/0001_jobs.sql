-- Times are microseconds since 1970 UTC. Payloads stand beside the rows that change, and are written once.
-- phase: 0 ready, 1 deferred, 2 waiting, 3 running, 4 succeeded, 5 failed, 6 cancelled. Below 4 a job lives.
-- Names are compared byte by byte: no rule of any language applies to them.

CREATE SEQUENCE job_no;

CREATE TABLE job (
  no                  int8 PRIMARY KEY,
  id                  uuid NOT NULL,
  created_at          int8 NOT NULL,
  score               int8 NOT NULL,               -- its place in its lane: smaller goes first
  timer_at            int8,                        -- alive: when a sweep must look at it; ended: when its retention is over
  version             int8 NOT NULL,
  attempt             int8 NOT NULL,
  crashes             int8 NOT NULL,
  last_seq            int8 NOT NULL,
  last_step_seq       int8 NOT NULL DEFAULT 0,
  last_delta_seq      int8 NOT NULL DEFAULT 0,
  last_reset_seq      int8 NOT NULL DEFAULT 0,
  max_attempts        int8 NOT NULL,
  backoff_initial_ms  int8 NOT NULL,
  backoff_max_ms      int8 NOT NULL,
  retention           int8 NOT NULL,               -- microseconds
  run_at              int8,
  deadline_at         int8,
  attempt_timeout     int8,                        -- microseconds
  due_at              int8,
  token               int8,
  node                int8,                        -- the server in whose process its lease is held
  lease_since         int8,
  lease_expires_at    int8,
  wait_since          int8,
  started_at          int8,
  finished_at         int8,
  cancel_requested_at int8,
  progress_fraction   float8,
  parent_no           int8,
  child_index         int4 NOT NULL DEFAULT 0,
  children            int4 NOT NULL DEFAULT 0,
  children_submitted  int4 NOT NULL DEFAULT 0,     -- so many of them came with the job
  children_succeeded  int4 NOT NULL DEFAULT 0,
  children_failed     int4 NOT NULL DEFAULT 0,
  children_cancelled  int4 NOT NULL DEFAULT 0,
  answers             int4 NOT NULL DEFAULT 0,     -- kept and not yet read
  phase               int2 NOT NULL,
  priority            int2 NOT NULL,
  depth               int2 NOT NULL DEFAULT 0,
  on_child_failure    int2 NOT NULL DEFAULT 1,     -- 0 fail, 1 partial
  queued_for          int2,                        -- 0 turn, 1 schedule, 2 retry, 3 park, 4 resume
  stage               int2,                        -- 0 validating, 1 executing, 2 cancelling
  wait                int2,                        -- 0 children, 1 input
  ending              int2,                        -- of the last attempt, once the job has ended
  same_attempt        bool,
  in_process          bool,
  ambiguous           bool,
  trimmed             bool NOT NULL DEFAULT false, -- what it streamed has been removed
  tenant              text COLLATE "C" NOT NULL,
  kind                text COLLATE "C" NOT NULL,
  queue               text COLLATE "C" NOT NULL,
  metadata            text,                        -- JSON
  metadata_pairs      int8[],                      -- a hash of each pair
  retry_of            uuid,
  parent              uuid,
  worker              text,
  wait_step           text,
  wait_prompt         text,
  progress_message    text,
  error               text,                        -- JSON
  report              text                        -- JSON; null: as if nothing was reported
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

-- Finds a job by its id and lists a tenant's jobs by time: ids are UUIDv7.
CREATE UNIQUE INDEX job_id ON job (tenant, id);
CREATE INDEX job_ready ON job (queue, kind, tenant, score, no) WHERE phase = 0;
CREATE INDEX job_timer ON job (timer_at) WHERE phase < 4 AND timer_at IS NOT NULL;
CREATE INDEX job_expiry ON job (timer_at) WHERE phase >= 4;
CREATE INDEX job_active ON job (tenant, id) WHERE phase IN (2, 3);
CREATE INDEX job_unhappy ON job (tenant, id) WHERE phase >= 5;
CREATE INDEX job_children ON job (parent_no, child_index) WHERE parent_no IS NOT NULL;
CREATE INDEX job_children_alive ON job (parent_no, no) WHERE parent_no IS NOT NULL AND phase < 4;

-- `digest` and `size` instead of `data` when the payload is in the blob store: its SHA-256 and its bytes.
CREATE TABLE input  (no int8 PRIMARY KEY, data bytea, digest bytea, size int8);
CREATE TABLE output (no int8 PRIMARY KEY, data bytea, digest bytea, size int8);

-- type: 1 queued, 2 running, 3 progress, 4 step, 5 log, 6 succeeded, 7 failed, 8 cancelled, 9 waiting, 11 reset,
-- 12 layer. Deltas (10) stand in a table of their own, and go at a time of their own.
CREATE TABLE event (
  no      int8 NOT NULL,
  seq     int8 NOT NULL,
  time    int8 NOT NULL,
  attempt int8 NOT NULL,
  number  int8,                                    -- queued, waiting: what for; log: level; reset: kept through
  at      int8,                                    -- queued: due at
  "real"  float8,                                  -- progress: fraction
  type    int2 NOT NULL,
  text    text,                                    -- running: worker; progress, log: message; step, waiting: name
  error   text,                                    -- queued, failed: JSON; waiting: prompt; layer: JSON
  PRIMARY KEY (no, seq)
);

-- kind: 0 text, 1 a JSON array of items.
CREATE TABLE delta (
  no      int8 NOT NULL,
  seq     int8 NOT NULL,
  time    int8 NOT NULL,
  attempt int8 NOT NULL,
  kind    int2 NOT NULL,
  data    text NOT NULL,
  PRIMARY KEY (no, seq)
);

-- Answers that came before anybody asked.
CREATE TABLE answer (
  no     int8 NOT NULL,
  place  int8 GENERATED ALWAYS AS IDENTITY,
  data   bytea,
  digest bytea,
  size   int8,
  PRIMARY KEY (no, place)
);

-- Jobs whose live children are still to be cancelled: more than one transaction takes.
CREATE TABLE abandoned (parent_no int8 PRIMARY KEY);

-- Attempts after which the job went on. The last attempt stands in the job's row.
CREATE TABLE attempt (
  no         int8 NOT NULL,
  lease      int8 NOT NULL,
  number     int8 NOT NULL,
  started_at int8 NOT NULL,
  ended_at   int8 NOT NULL,
  ending     int2 NOT NULL,
  ambiguous  bool NOT NULL,
  worker     text NOT NULL,
  error      text,
  PRIMARY KEY (no, lease)
);

CREATE TABLE step (
  no     int8 NOT NULL,
  place  int8 GENERATED ALWAYS AS IDENTITY,
  name   text COLLATE "C" NOT NULL,
  data   bytea,
  digest bytea,
  size   int8,
  PRIMARY KEY (no, name)
);

CREATE TABLE idempotency (
  tenant      text COLLATE "C" NOT NULL,
  route       text COLLATE "C" NOT NULL,
  key         bytea NOT NULL,
  fingerprint bytea NOT NULL,
  jobs        uuid[] NOT NULL,
  keep_until  int8 NOT NULL,
  PRIMARY KEY (tenant, route, key)
);
CREATE INDEX idempotency_keep ON idempotency (keep_until);

CREATE TABLE tombstone (
  tenant      text COLLATE "C" NOT NULL,
  id          uuid NOT NULL,
  status      int2 NOT NULL,                       -- a phase
  erased      bool NOT NULL,
  finished_at int8 NOT NULL,
  gone_at     int8 NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX tombstone_gone ON tombstone (gone_at);

CREATE TABLE queue (name text COLLATE "C" PRIMARY KEY, paused bool NOT NULL);

-- How many jobs a queue holds: the sum over its slots. Each server adds to a slot of its own, so that no two wait for
-- each other to count.
CREATE TABLE queue_tally (
  queue   text COLLATE "C" NOT NULL,
  slot    int2 NOT NULL,
  queued  int8 NOT NULL,
  running int8 NOT NULL,
  waiting int8 NOT NULL,
  PRIMARY KEY (queue, slot)
) WITH (fillfactor = 20);

-- The servers on this database. One whose time is over is dead, and so are the leases held in its process.
CREATE TABLE node (id int8 PRIMARY KEY, name text NOT NULL, alive_until int8 NOT NULL) WITH (fillfactor = 20);

-- Who has claimed at which server, and what, as of about when.
CREATE TABLE claimant (
  node   int8 NOT NULL,
  digest bytea NOT NULL,                           -- of all that follows but the time
  worker text NOT NULL,
  kinds  text[] NOT NULL,
  tenant text,                                     -- null: any
  queues text[],                                   -- null: any
  at     int8 NOT NULL,
  PRIMARY KEY (node, digest)
);

CREATE TABLE kind (
  tenant text COLLATE "C" NOT NULL,
  name   text COLLATE "C" NOT NULL,
  spec   text NOT NULL,                            -- JSON
  PRIMARY KEY (tenant, name)
);

CREATE TABLE api_key (
  id          uuid PRIMARY KEY,
  tenant      text COLLATE "C" NOT NULL,
  name        text NOT NULL,
  scopes      text NOT NULL,                       -- separated by spaces
  secret_hash bytea NOT NULL,
  created_at  int8 NOT NULL,
  expires_at  int8,
  revoked_at  int8
);

CREATE TABLE document (
  tenant       text COLLATE "C" NOT NULL,
  id           uuid NOT NULL,
  file_name    text NOT NULL,
  content_type text,
  digest       bytea NOT NULL,
  size         int8 NOT NULL,
  job          uuid NOT NULL,
  created_at   int8 NOT NULL,
  PRIMARY KEY (tenant, id)
);

CREATE TABLE document_part (
  tenant text COLLATE "C" NOT NULL,
  id     uuid NOT NULL,
  part   text COLLATE "C" NOT NULL,
  data   bytea,
  digest bytea,
  size   int8,
  PRIMARY KEY (tenant, id, part)
);

-- Blobs are named by what they are. Their bytes come in before their name is known, so they stand under a number.
CREATE SEQUENCE blob_body;
CREATE TABLE blob (
  digest bytea PRIMARY KEY,
  size   int8 NOT NULL,
  body   int8 NOT NULL,
  uses   int8 NOT NULL                             -- how many rows refer to it
);
CREATE TABLE blob_chunk (body int8 NOT NULL, place int4 NOT NULL, data bytea NOT NULL, PRIMARY KEY (body, place));
-- Random bytes do not become smaller, and text is read back whole.
ALTER TABLE blob_chunk ALTER COLUMN data SET STORAGE EXTERNAL;
-- Who is about to refer to a blob: it stays for as long.
CREATE TABLE blob_pin (digest bytea NOT NULL, node int8 NOT NULL, pins int8 NOT NULL, PRIMARY KEY (digest, node));
-- Bytes that are coming in.
CREATE TABLE blob_upload (body int8 PRIMARY KEY, node int8 NOT NULL);
