//! Reading documents in processes of their own: this program, started once more for each.

use std::path::{Path, PathBuf};

use longhaul_tasks::documents::IsolatedOptions;

/// The argument with which the program reads one document and is nothing else. Not for people: what it hears and says are
/// messages of [`longhaul_documents::isolated`].
pub const MODE: &str = "--parse-document";

/// How readers are started: from the very program that runs, also when its file has been replaced meanwhile.
///
/// # Errors
/// When this program's own file cannot be found.
pub fn options() -> std::io::Result<IsolatedOptions> {
    const RUNNING: &str = "/proc/self/exe";
    let program = if Path::new(RUNNING).exists() { PathBuf::from(RUNNING) } else { std::env::current_exe()? };
    Ok(IsolatedOptions::of(program, MODE))
}
