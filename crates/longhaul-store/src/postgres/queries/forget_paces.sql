DELETE FROM pace WHERE gate IN (
  SELECT gate FROM pace WHERE over_at < $1 AND wakes_at IS NULL ORDER BY over_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
