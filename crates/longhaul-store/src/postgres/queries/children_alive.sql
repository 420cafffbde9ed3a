-- Those of these parents' children that have neither ended nor been asked to stop.
SELECT {job}
FROM job
WHERE parent_no = ANY ($1) AND parent_no IS NOT NULL AND phase < 4 AND cancel_requested_at IS NULL
ORDER BY parent_no, no
LIMIT $2
FOR UPDATE
