//! Admission, dispatch, leases, executors, recovery and shutdown.
