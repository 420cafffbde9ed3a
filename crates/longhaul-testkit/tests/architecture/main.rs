//! The plan of the house, enforced: which crate may depend on which, who alone may use a library, how files may look.
//!
//! The rules are data at the top of [`edges`] and [`house`]. A change of the plan is a change of those lines, and is
//! seen in review.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

mod edges;
mod house;

use std::path::{Path, PathBuf};
use std::process::Command;

fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent);
    root.expect("this crate lies in crates/").to_owned()
}

fn metadata() -> serde_json::Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(workspace())
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON from cargo metadata")
}

#[test]
fn no_crate_depends_on_what_the_plan_does_not_allow() {
    let packages = edges::packages(&metadata());
    assert!(packages.len() >= 12, "only {} packages were read", packages.len());
    let forbidden = edges::forbidden(&packages);
    assert!(forbidden.is_empty(), "\n{}\n", forbidden.join("\n"));
}

#[test]
fn every_file_keeps_the_rules_of_the_house() {
    let broken = house::broken_rules(&workspace());
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}
