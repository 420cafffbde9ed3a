SELECT no FROM job WHERE tenant = $1 AND id = $2
