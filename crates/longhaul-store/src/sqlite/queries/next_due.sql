SELECT min(due_at) FROM job WHERE phase = 1 AND due_at > ?1
