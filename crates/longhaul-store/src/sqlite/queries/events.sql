SELECT seq, type, time, attempt, number, at, real, text, error FROM event WHERE no = ?1 AND seq > ?2
UNION ALL
SELECT seq, 10, time, attempt, kind, NULL, NULL, data, NULL FROM delta INDEXED BY delta_of WHERE no = ?1 AND seq > ?2
ORDER BY 1 LIMIT ?3
