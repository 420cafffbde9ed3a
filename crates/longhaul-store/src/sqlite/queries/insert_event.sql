INSERT INTO event (no, seq, type, time, attempt, number, at, real, text, error)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
