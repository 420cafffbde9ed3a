-- Parents that have given up, of which something is left or not, and whose children were to be cancelled and live. One child
-- of each parent is enough to know its tenant.
SELECT one.tenant, live.parent
FROM (
  SELECT parent, min(no) AS no FROM job INDEXED BY job_child_live
  WHERE parent IS NOT NULL AND phase < 4 GROUP BY parent
) AS live
JOIN job AS one ON one.no = live.no
LEFT JOIN job AS above ON above.tenant = one.tenant AND above.id = live.parent
LEFT JOIN tombstone ON tombstone.tenant = one.tenant AND tombstone.id = live.parent
WHERE above.phase >= 5
   OR above.cancel_requested_at IS NOT NULL
   OR (above.no IS NULL AND tombstone.status >= 5)
