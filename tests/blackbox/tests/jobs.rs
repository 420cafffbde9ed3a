//! The life of jobs over `/v1/jobs`, from the receipt to the tombstone.

mod life;
mod listing;
mod timing;
