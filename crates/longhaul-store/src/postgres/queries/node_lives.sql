-- Who has left stays so: what was said before, and comes behind, does not count.
INSERT INTO node (id, name, alive_until) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until WHERE node.alive_until > 0
