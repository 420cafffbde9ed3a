-- Lanes of a kind stand together: whoever claims a few kinds walks past none of the others'.
CREATE INDEX job_lanes ON job (kind, queue, tenant, score, no) WHERE phase = 0;
DROP INDEX job_ready;
