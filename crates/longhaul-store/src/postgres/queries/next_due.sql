SELECT min(timer_at) FROM job WHERE phase < 4 AND timer_at IS NOT NULL AND timer_at > $1
