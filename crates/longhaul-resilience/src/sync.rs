//! The locks and atomics of this crate, in one place.
//!
//! A build with `--cfg longhaul_loom` swaps them for loom's, so that the model checker sees every interleaving of the
//! shells around the decision modules. No lock of this crate is ever held across an `.await` or while a listener runs.

#[cfg(not(longhaul_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

#[cfg(longhaul_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

/// Locks, and goes on after a panic elsewhere: the sections under our locks run no code that could leave them half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
