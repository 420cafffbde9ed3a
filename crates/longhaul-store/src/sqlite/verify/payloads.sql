-- Every job has an input; those that succeeded, and no others, have an output and all that have ended say when.
SELECT job.tenant, job.id,
       CASE
         WHEN input.no IS NULL THEN 'its input is missing'
         WHEN job.phase = 4 AND output.no IS NULL THEN 'it succeeded, but its output is missing'
         WHEN job.phase <> 4 AND output.no IS NOT NULL THEN 'it has an output, but has not succeeded'
         WHEN job.phase >= 4 AND job.finished_at IS NULL THEN 'it has ended, but does not say when'
         ELSE 'it has not ended, but says when'
       END
FROM job
LEFT JOIN input ON input.no = job.no
LEFT JOIN output ON output.no = job.no
WHERE input.no IS NULL
   OR (job.phase = 4) <> (output.no IS NOT NULL)
   OR (job.phase >= 4) <> (job.finished_at IS NOT NULL)
