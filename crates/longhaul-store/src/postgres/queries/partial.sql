SELECT no, last_delta_seq FROM job WHERE tenant = $1 AND id = $2
