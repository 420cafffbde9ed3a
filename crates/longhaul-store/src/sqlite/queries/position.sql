-- In two halves, so that each is one range of the index: a row value would compare the last part of the place row by row.
SELECT count(*) FROM (
  SELECT 1 FROM (
    SELECT 1 FROM job INDEXED BY job_ready
    WHERE phase = 0 AND queue = ?1 AND kind = ?2 AND tenant = ?3 AND rank < ?4 LIMIT ?6
  )
  UNION ALL
  SELECT 1 FROM (
    SELECT 1 FROM job INDEXED BY job_ready
    WHERE phase = 0 AND queue = ?1 AND kind = ?2 AND tenant = ?3 AND rank = ?4 AND no < ?5 LIMIT ?6
  )
  LIMIT ?6
)
