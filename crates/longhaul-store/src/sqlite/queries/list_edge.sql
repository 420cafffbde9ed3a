SELECT id FROM job WHERE tenant = ?1 AND id < ?2 AND id >= ?4 {window} ORDER BY id DESC LIMIT 1 OFFSET ?3
