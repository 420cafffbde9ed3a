SELECT count(*) FROM (
  SELECT 1 FROM job INDEXED BY job_ready
  WHERE phase = 0 AND queue = ?1 AND kind = ?2 AND tenant = ?3 AND (rank, no) < (?4, ?5)
  LIMIT ?6
)
