//! The JobStore port and its stores: SQLite and memory.
