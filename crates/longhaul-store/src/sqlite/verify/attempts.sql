-- An attempt in the history was made under a lease that was given, and ended after it began.
SELECT job.tenant, job.id,
       format('attempt %d under lease %d: the job was given %d leases and made %d attempts',
              attempt.number, attempt.lease, coalesce(job.token, 0) >> 32, job.attempt)
FROM attempt
JOIN job ON job.no = attempt.no
WHERE attempt.lease > (coalesce(job.token, 0) >> 32)
   OR attempt.number > job.attempt
   OR attempt.ended_at < attempt.started_at
