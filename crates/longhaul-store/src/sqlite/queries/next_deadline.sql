SELECT min(deadline_at) FROM job WHERE deadline_at IS NOT NULL AND phase IN (-1, 0, 1, 3) AND deadline_at > ?1
