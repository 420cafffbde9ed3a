//! The domain of Longhaul, pure: jobs, attempts, leases, events and the transition function.
