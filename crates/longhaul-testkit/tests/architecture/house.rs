//! The look of files: how long, under which names, with which lints.

use std::path::{Path, PathBuf};

/// Longest source file, in lines. A file tells one story; a longer one tells two.
const LONGEST_FILE_LINES: usize = 800;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "manager", "misc", "stuff"];

/// Folders with crates of ours.
const FOLDERS: [&str; 2] = ["crates", "tests"];

/// Every rule that a file breaks, in words.
pub(crate) fn broken_rules(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut files);
    }
    assert!(files.len() > 20, "only {} files were found", files.len());
    let mut broken = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        broken.extend(complaints(&name, &text));
    }
    broken
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
            files.push(path);
        }
    }
}

fn complaints(name: &str, text: &str) -> Vec<String> {
    let path = Path::new(name);
    let mut found = Vec::new();
    if path.file_name().is_some_and(|file| file == "Cargo.toml") {
        if !text.contains("[lints]\nworkspace = true") {
            found.push(format!("{name}: does not take the workspace's lints"));
        }
        return found;
    }
    if path.extension().is_none_or(|extension| extension != "rs") {
        return found;
    }
    let lines = text.lines().count();
    if lines > LONGEST_FILE_LINES {
        found.push(format!("{name}: {lines} lines, {LONGEST_FILE_LINES} at most"));
    }
    let words = path.components().filter_map(|part| part.as_os_str().to_str());
    if let Some(word) = words.map(|word| word.trim_end_matches(".rs")).find(|word| EMPTY_NAMES.contains(word)) {
        found.push(format!("{name}: `{word}` says nothing of what is inside"));
    }
    let draws_lots = |after: &str| !after.trim_start().starts_with("biased;");
    if name.contains("longhaul-engine/src") && text.split("select! {").skip(1).any(draws_lots) {
        found.push(format!("{name}: a `select!` that is not biased draws lots, and no seed replays that"));
    }
    if !text.trim_start().starts_with("//!") && lines > 40 {
        found.push(format!("{name}: does not open with what it is for"));
    }
    found
}

#[test]
fn a_file_that_breaks_a_rule_is_named_with_the_rule() {
    let long = format!("//! Long.\n{}", "let x = 1;\n".repeat(LONGEST_FILE_LINES));
    assert_eq!(complaints("crates/a/src/long.rs", &long), ["crates/a/src/long.rs: 801 lines, 800 at most"]);
    assert_eq!(complaints("crates/a/src/utils.rs", "//! x\n").len(), 1);
    assert_eq!(complaints("crates/a/src/common/x.rs", "//! x\n").len(), 1);
    assert_eq!(complaints("crates/a/src/mute.rs", &"fn f() {}\n".repeat(50)).len(), 1);
    assert_eq!(complaints("crates/a/Cargo.toml", "[package]\n").len(), 1);
    let unbiased = "//! x\nfn f() { tokio::select! { () = a => {} () = b => {} } }\n";
    assert_eq!(complaints("crates/longhaul-engine/src/f.rs", unbiased).len(), 1);
}

#[test]
fn a_file_that_keeps_the_rules_is_left_in_peace() {
    assert!(complaints("crates/a/src/leases.rs", "//! Leases.\n").is_empty());
    assert!(complaints("crates/a/Cargo.toml", "[lints]\nworkspace = true\n").is_empty());
}
