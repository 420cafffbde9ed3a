-- Its phase and how many stand before it in its lane, counted up to $3.
SELECT here.phase, (
  SELECT count(*) FROM (
    SELECT 1 FROM job AS other
    WHERE other.phase = 0 AND other.queue = here.queue AND other.kind = here.kind AND other.tenant = here.tenant
      AND (other.score, other.no) < (here.score, here.no)
    LIMIT $3
  ) AS before
)
FROM job AS here WHERE here.tenant = $1 AND here.id = $2
