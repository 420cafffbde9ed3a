//! What `--help` teaches.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests; the shared module is compiled into each")]

mod support;

use support::Program;

fn help(arguments: &[&str]) -> String {
    let ran = Program::new(arguments).run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.out
}

#[test]
fn the_program_explains_itself() {
    insta::assert_snapshot!(help(&["--help"]));
}

#[test]
fn serve_explains_itself() {
    insta::assert_snapshot!(help(&["serve", "--help"]));
}

#[test]
fn submit_explains_itself() {
    insta::assert_snapshot!(help(&["submit", "--help"]));
}

#[test]
fn jobs_explains_itself() {
    insta::assert_snapshot!(help(&["jobs", "--help"]));
}

#[test]
fn every_command_has_help_and_an_example() {
    for command in ["serve", "submit", "jobs", "kinds", "queues", "keys", "documents"] {
        let text = help(&[command, "--help"]);
        assert!(text.contains("Examples:"), "{command} shows no example");
    }
    assert!(help(&["config", "check", "--help"]).contains("Examples:"));
    assert!(help(&["bench", "jobs", "--help"]).contains("Examples:"));
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_near() {
    let ran = Program::new(&["jobs", "lst"]).run();
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("list"), "{}", ran.err);
}
