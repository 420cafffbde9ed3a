-- In their order, in which everybody locks them. Whoever pins a blob changes its row first: so what is pinned shows.
SELECT digest FROM blob WHERE digest = ANY ($1) ORDER BY digest FOR UPDATE
