INSERT INTO attempt (no, lease, number, started_at, ended_at, worker, ending, error, ambiguous)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
