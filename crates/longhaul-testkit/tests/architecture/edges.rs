//! Dependencies between our crates, and the libraries that belong to one crate alone.

use serde_json::Value;
use std::collections::BTreeSet;

/// What each crate may use of ours. What is not here is forbidden.
const ALLOWED: &[(&str, &[&str])] = &[
    ("longhaul-core", &[]),
    ("longhaul-resilience", &[]),
    ("longhaul-providers", &[]),
    ("longhaul-documents", &[]),
    ("longhaul-testkit", &[]),
    ("longhaul-ui", &[]),
    ("longhaul-store", &["longhaul-core", "longhaul-resilience"]),
    ("longhaul-engine", &["longhaul-core", "longhaul-store"]),
    ("longhaul-embedded", &["longhaul-core", "longhaul-store", "longhaul-engine"]),
    ("longhaul-gateway", &["longhaul-resilience", "longhaul-providers"]),
    (
        "longhaul-tasks",
        &[
            "longhaul-core",
            "longhaul-engine",
            "longhaul-gateway",
            "longhaul-providers",
            "longhaul-documents",
            "longhaul-resilience",
        ],
    ),
    (
        "longhaul-server",
        &[
            "longhaul-core",
            "longhaul-engine",
            "longhaul-gateway",
            "longhaul-providers",
            "longhaul-tasks",
            "longhaul-ui",
        ],
    ),
    (
        "longhaul",
        &[
            "longhaul-core",
            "longhaul-resilience",
            "longhaul-providers",
            "longhaul-documents",
            "longhaul-store",
            "longhaul-engine",
            "longhaul-gateway",
            "longhaul-tasks",
            "longhaul-server",
        ],
    ),
    ("longhaul-blackbox", &[]),
    // The simulation plays clients and workers around the real engine and the real ledger, so it reaches for the port
    // itself. It stands apart from the test kit, which shares no code with what it judges.
    ("longhaul-simulation", &["longhaul-core", "longhaul-store", "longhaul-engine"]),
];

/// Libraries that one crate alone may use, with the reason.
const OWNED: &[(&str, &str, &str)] = &[
    ("rusqlite", "longhaul-store", "only the store knows SQL"),
    ("axum", "longhaul-server", "only the server knows the web framework"),
    ("lopdf", "longhaul-documents", "only the documents crate knows the PDF format"),
];

/// The test kit is for tests: a dependency of nothing that ships.
const TEST_KIT: &str = "longhaul-testkit";

/// A package of the workspace with its direct dependencies.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Debug)]
struct Dependency {
    name: String,
    for_tests: bool,
}

pub(crate) fn packages(metadata: &Value) -> Vec<Package> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let dependency =
        |value: &Value| Dependency { name: text(&value["name"]), for_tests: value["kind"].as_str() == Some("dev") };
    let package = |value: &Value| Package {
        name: text(&value["name"]),
        dependencies: value["dependencies"].as_array().into_iter().flatten().map(dependency).collect(),
    };
    metadata["packages"].as_array().into_iter().flatten().map(package).collect()
}

/// Every edge that the plan does not have, in words.
pub(crate) fn forbidden(packages: &[Package]) -> Vec<String> {
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut found = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        let Some(allowed) = allowed(name) else {
            found.push(format!("{name} is not in the plan: say in edges.rs what it may depend on"));
            continue;
        };
        for dependency in &package.dependencies {
            let wanted = dependency.name.as_str();
            if let Some((_, owner, reason)) = OWNED.iter().find(|(library, ..)| *library == wanted)
                && *owner != name
            {
                found.push(format!("{name} depends on {wanted}: {reason} ({owner})"));
            }
            if !ours.contains(wanted) || allowed.contains(&wanted) {
                continue;
            }
            // Tests may reach further down, never up, may switch on features of their own crate, and are what the test
            // kit is for.
            let fine_in_tests = wanted == TEST_KIT || wanted == name || below(name).contains(wanted);
            if !(dependency.for_tests && fine_in_tests) {
                let sort = if dependency.for_tests { "its tests depend" } else { "it depends" };
                found.push(format!("{name}: {sort} on {wanted}, which the plan does not allow"));
            }
        }
    }
    found
}

fn allowed(name: &str) -> Option<&'static [&'static str]> {
    ALLOWED.iter().find(|(package, _)| *package == name).map(|(_, allowed)| *allowed)
}

/// Everything that lies below a crate, at any depth.
fn below(name: &str) -> BTreeSet<&'static str> {
    let mut all = BTreeSet::new();
    let mut open: Vec<&str> = allowed(name).unwrap_or_default().to_vec();
    while let Some(next) = open.pop() {
        if let Some((known, allowed)) = ALLOWED.iter().find(|(package, _)| *package == next)
            && all.insert(*known)
        {
            open.extend_from_slice(allowed);
        }
    }
    all
}

fn house(edges: &[(&str, &str, bool)]) -> Vec<Package> {
    let of = |package: &str| Package {
        name: package.to_owned(),
        dependencies: edges
            .iter()
            .filter(|(from, ..)| *from == package)
            .map(|(_, to, for_tests)| Dependency { name: (*to).to_owned(), for_tests: *for_tests })
            .collect(),
    };
    ALLOWED.iter().map(|(package, _)| of(package)).collect()
}

#[test]
fn the_plan_itself_is_accepted() {
    let edges: Vec<(&str, &str, bool)> =
        ALLOWED.iter().flat_map(|(from, to)| to.iter().map(|to| (*from, *to, false))).collect();
    assert_eq!(forbidden(&house(&edges)), Vec::<String>::new());
}

#[test]
fn an_edge_against_the_arrows_is_refused() {
    for (from, to) in [
        ("longhaul-core", "longhaul-store"),
        ("longhaul-resilience", "longhaul-core"),
        ("longhaul-engine", "longhaul-gateway"),
        ("longhaul-gateway", "longhaul-engine"),
        ("longhaul-tasks", "longhaul-store"),
        ("longhaul-server", "longhaul-store"),
        ("longhaul-documents", "longhaul-core"),
    ] {
        let found = forbidden(&house(&[(from, to, false)]));
        assert_eq!(found.len(), 1, "{from} → {to}: {found:?}");
        assert!(found[0].contains(from) && found[0].contains(to), "{found:?}");
    }
}

#[test]
fn tests_may_reach_down_and_to_the_test_kit_but_not_up() {
    let fine = [("longhaul-server", "longhaul-store", true), ("longhaul-core", TEST_KIT, true)];
    assert_eq!(forbidden(&house(&fine)), Vec::<String>::new());
    assert_eq!(forbidden(&house(&[("longhaul-core", "longhaul-engine", true)])).len(), 1);
    assert_eq!(forbidden(&house(&[("longhaul", TEST_KIT, false)])).len(), 1);
}

#[test]
fn a_library_that_belongs_to_one_crate_is_refused_elsewhere() {
    for (from, library) in [("longhaul", "axum"), ("longhaul-engine", "rusqlite"), ("longhaul-tasks", "lopdf")] {
        assert_eq!(forbidden(&house(&[(from, library, false)])).len(), 1, "{from} → {library}");
    }
    assert_eq!(forbidden(&house(&[("longhaul-store", "rusqlite", false)])), Vec::<String>::new());
}

#[test]
fn a_crate_that_the_plan_does_not_name_is_refused() {
    let stranger = Package { name: "longhaul-extra".to_owned(), dependencies: Vec::new() };
    assert_eq!(forbidden(&[stranger]).len(), 1);
}
