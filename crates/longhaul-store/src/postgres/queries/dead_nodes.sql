SELECT id FROM node WHERE alive_until <= $1 AND id <> $2 FOR UPDATE SKIP LOCKED
