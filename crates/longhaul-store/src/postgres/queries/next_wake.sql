SELECT min(wakes_at) FROM pace WHERE wakes_at IS NOT NULL AND wakes_at > $1
