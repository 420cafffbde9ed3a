UPDATE node SET alive_until = 0 WHERE id = $1
