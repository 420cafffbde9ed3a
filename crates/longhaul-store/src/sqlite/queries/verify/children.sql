-- A parent's counts against its children. Those that have ended may be gone; those that live are there.
SELECT id, 'counts ' || total || ' children: ' || ended || ' ended and ' || (total - ended) || ' live; there are ' || live
  || ' that live and ' || dead || ' that have ended'
FROM (
  SELECT id,
    coalesce(children_total, 0) AS total,
    coalesce(children_succeeded, 0) AS succeeded,
    coalesce(children_failed, 0) AS failed,
    coalesce(children_cancelled, 0) AS cancelled,
    coalesce(children_succeeded, 0) + coalesce(children_failed, 0) + coalesce(children_cancelled, 0) AS ended,
    (SELECT count(*) FROM job AS child INDEXED BY job_child WHERE child.parent = above.id AND child.phase < 4) AS live,
    (SELECT count(*) FROM job AS child INDEXED BY job_child WHERE child.parent = above.id AND child.phase >= 4) AS dead,
    (SELECT count(*) FROM job AS child INDEXED BY job_child WHERE child.parent = above.id AND child.phase = 4) AS of_4,
    (SELECT count(*) FROM job AS child INDEXED BY job_child WHERE child.parent = above.id AND child.phase = 5) AS of_5,
    (SELECT count(*) FROM job AS child INDEXED BY job_child WHERE child.parent = above.id AND child.phase = 6) AS of_6
  FROM job AS above
  WHERE children_total IS NOT NULL OR EXISTS (SELECT 1 FROM job AS child INDEXED BY job_child WHERE child.parent = above.id)
)
WHERE live <> total - ended OR of_4 > succeeded OR of_5 > failed OR of_6 > cancelled
