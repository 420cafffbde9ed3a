-- A child's parent is there, or is remembered to have been; the time for which it is remembered counts from the newest job.
SELECT child.id, CASE
    WHEN parent.no IS NULL THEN 'is the child of a job that is not there'
    WHEN child.tenant <> parent.tenant THEN 'is the child of another tenant''s job'
    ELSE 'stands at depth ' || coalesce(child.depth, 0) || ' below a job at depth ' || coalesce(parent.depth, 0)
  END
FROM job AS child
LEFT JOIN job AS parent ON parent.tenant = child.tenant AND parent.id = child.parent
WHERE child.parent IS NOT NULL
  AND CASE
    WHEN parent.no IS NOT NULL THEN coalesce(child.depth, 0) <> coalesce(parent.depth, 0) + 1
    ELSE child.created_at > (SELECT max(created_at) FROM job) - ?1
      AND NOT EXISTS (SELECT 1 FROM tombstone WHERE tombstone.tenant = child.tenant AND tombstone.id = child.parent)
  END
