//! The built-in kinds of job, each an executor.
