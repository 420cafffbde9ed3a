SELECT lease, number, started_at, ended_at, worker, ending, error, ambiguous FROM attempt WHERE no = $1 ORDER BY lease
