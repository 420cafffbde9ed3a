-- Looks at no more than ?3 rows, whatever the filters leave of them.
SELECT {columns}
FROM (SELECT * FROM {window} AND tenant = ?1 AND id < ?2 AND id >= ?11 ORDER BY id DESC LIMIT ?3)
WHERE (?4 IS NULL OR phase = ?4 OR (?4 = 0 AND phase IN (-1, 1)) OR (?4 = 2 AND phase = 3))
  AND (?5 IS NULL OR kind = ?5)
  AND (?6 IS NULL OR queue = ?6)
  AND created_at >= ?7
  AND created_at < ?8
  AND (?9 IS NULL OR NOT EXISTS (
        SELECT 1 FROM json_each(?9) AS wanted
        LEFT JOIN json_each(coalesce(metadata, '{}')) AS has ON has.key = wanted.key AND has.value = wanted.value
        WHERE has.key IS NULL))
ORDER BY id DESC
LIMIT ?10
