//! Problems as they are sent.

use std::collections::HashSet;

use http_body_util::BodyExt as _;

use super::*;

fn shown(problem: &Problem) -> serde_json::Value {
    serde_json::from_slice(&problem.to_json()).expect("a problem is JSON")
}

#[test]
fn a_problem_with_named_fields_reads_well() {
    let mut problem = Problem::invalid(
        Code::InvalidRequest,
        vec![
            FieldError::new("/priority", "is 500; the most it can be is 100"),
            FieldError::new("/kind", "is required"),
        ],
    );
    problem.identify("req_1", &"/v1/jobs?x=1".parse().expect("a uri"));
    insta::assert_json_snapshot!(shown(&problem));
}

#[test]
fn a_tombstone_carries_its_own_members_after_the_standard_ones() {
    let problem = Problem::new(Code::Erased, "job job_1 was erased")
        .with("job_id", "job_1")
        .with("job_status", "succeeded")
        .with("finished_at", "2031-01-01T00:00:00Z");
    insta::assert_json_snapshot!(shown(&problem));
}

#[tokio::test]
async fn an_answer_has_its_status_media_type_and_retry_after() {
    let response =
        Problem::new(Code::StorageFull, "the disk is full").retry_after(Duration::from_millis(2_100)).into_response();
    assert_eq!(response.status(), 507);
    assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
    assert_eq!(response.headers()["retry-after"], "3");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).expect("json")["code"], "storage_full");
}

#[test]
fn every_429_503_and_507_carries_retry_after_and_nothing_else_does_unasked() {
    for &code in Code::ALL {
        let response = Problem::new(code, "x").into_response();
        let expected = matches!(code.status().as_u16(), 429 | 503 | 507);
        assert_eq!(response.headers().contains_key("retry-after"), expected, "{code}");
    }
}

#[test]
fn codes_are_distinct_snake_case_words_with_a_text() {
    let mut seen = HashSet::new();
    for &code in Code::ALL {
        assert!(seen.insert(code.as_str()), "{code} stands twice");
        assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
        assert!(code.doc().len() > 20 && code.status().as_u16() >= 400, "{code}");
    }
}

#[test]
fn codes_stand_in_the_order_of_their_status() {
    assert!(Code::ALL.is_sorted_by_key(|code| code.status().as_u16()));
}

#[test]
fn an_unauthorized_answer_says_which_scheme_to_use() {
    let response = Problem::new(Code::Unauthorized, "no key").into_response();
    assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"longhaul\"");
}

#[test]
fn the_committed_errors_page_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs")).expect("docs/ can be made");
        std::fs::write(path, errors_markdown()).expect("docs/errors.md can be written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == errors_markdown(), "docs/errors.md is stale; run this test with UPDATE=1");
}
