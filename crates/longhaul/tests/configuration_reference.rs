//! The reference page in the guide is the one that the types make.

#![allow(clippy::unwrap_used, reason = "tests")]

#[test]
fn the_reference_page_of_the_guide_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/configuration.md");
    let page = longhaul::config::reference_page();
    if std::env::var_os("LONGHAUL_WRITE_REFERENCE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == page,
        "docs/guide/configuration.md is stale; renew it with:\n  \
         LONGHAUL_WRITE_REFERENCE=1 cargo test -p longhaul --test configuration_reference"
    );
}
