//! Reliability primitives that compose: retry, timeout, breaker, cache, limits, hedge, fallback.
