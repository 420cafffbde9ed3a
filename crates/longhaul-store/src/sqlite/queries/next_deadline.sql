SELECT min(deadline_at) FROM job WHERE deadline_at IS NOT NULL AND phase < 2 AND deadline_at > ?1
