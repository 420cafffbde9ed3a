//! Test kit: history checker, fault harness, fixtures.
