-- A parent counts as many children that have not ended as there are; a live child has a parent.
SELECT parent.tenant, parent.id,
       format('%d of its children have not ended, but it counts %d', coalesce(live.jobs, 0),
              coalesce(parent.children_total, 0) - coalesce(parent.children_succeeded, 0)
                - coalesce(parent.children_failed, 0) - coalesce(parent.children_cancelled, 0))
FROM job AS parent
LEFT JOIN (
  SELECT tenant, parent, count(*) AS jobs FROM job WHERE parent IS NOT NULL AND phase < 4 GROUP BY tenant, parent
) AS live ON live.parent = parent.id AND live.tenant = parent.tenant
WHERE coalesce(live.jobs, 0) <> coalesce(parent.children_total, 0) - coalesce(parent.children_succeeded, 0)
        - coalesce(parent.children_failed, 0) - coalesce(parent.children_cancelled, 0)
UNION ALL
SELECT child.tenant, child.id, 'it has not ended, but its parent is gone'
FROM job AS child
WHERE child.parent IS NOT NULL AND child.phase < 4
  AND NOT EXISTS (SELECT 1 FROM job AS parent WHERE parent.tenant = child.tenant AND parent.id = child.parent)
