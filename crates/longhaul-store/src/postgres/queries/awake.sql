UPDATE pace SET wakes_at = NULL WHERE gate = ANY ($1)
