//! That hot queries find what they look for through their indexes, and sort nothing.

use longhaul_core::{IdSource as _, Ids};
use rusqlite::Connection;

use super::open;

/// What SQLite would do, one line a step.
fn plan(db: &Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let parameters = statement.parameter_count();
    let nothing = rusqlite::params_from_iter((0..parameters).map(|_| None::<i64>));
    statement.query_map(nothing, |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn database() -> (tempfile::TempDir, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let opened = open::open(directory.path()).unwrap();
    (directory, opened.writer)
}

#[test]
fn hot_queries_go_through_their_indexes_and_sort_nothing() {
    let (_directory, db) = database();
    let list = super::reads::list_sql(super::reads::ANY);
    let list_running = super::reads::list_sql(super::reads::RUNNING);
    let list_unhappy = super::reads::list_sql(super::reads::UNHAPPY);
    let queries = [
        ("ready", include_str!("queries/ready.sql"), "USING COVERING INDEX job_ready"),
        ("position", include_str!("queries/position.sql"), "USING COVERING INDEX job_ready"),
        ("lanes", include_str!("queries/lanes.sql"), "USING COVERING INDEX job_ready"),
        ("count ready", include_str!("queries/count_ready.sql"), "USING COVERING INDEX job_ready"),
        ("count blocked", include_str!("queries/count_blocked.sql"), "USING COVERING INDEX job_blocked"),
        ("blocked", include_str!("queries/blocked.sql"), "USING COVERING INDEX job_blocked (limit_key=? AND queue=?"),
        (
            "next blocked queue",
            include_str!("queries/blocked_next_queue.sql"),
            "USING COVERING INDEX job_blocked (limit_key=? AND queue>?)",
        ),
        (
            "next blocked key",
            include_str!("queries/blocked_next_key.sql"),
            "USING COVERING INDEX job_blocked (limit_key>?)",
        ),
        ("due", include_str!("queries/jobs_due.sql"), "USING INDEX job_deferred"),
        ("next due", include_str!("queries/next_due.sql"), "USING COVERING INDEX job_deferred"),
        ("overdue", include_str!("queries/jobs_overdue.sql"), "USING INDEX job_deadline"),
        ("next deadline", include_str!("queries/next_deadline.sql"), "USING INDEX job_deadline"),
        ("running", include_str!("queries/jobs_running.sql"), "USING INDEX job_active"),
        ("by id", include_str!("queries/job_by_id.sql"), "USING INDEX job_id"),
        ("by number", include_str!("queries/job_by_no.sql"), "USING INTEGER PRIMARY KEY"),
        ("events", include_str!("queries/events.sql"), "USING PRIMARY KEY (no=? AND seq>?)"),
        ("deltas among events", include_str!("queries/events.sql"), "USING INDEX delta_of (no=? AND seq>?)"),
        ("deltas", include_str!("queries/deltas.sql"), "USING INDEX delta_of"),
        ("children", include_str!("queries/children.sql"), "USING INDEX job_child (parent=? AND child_index>?)"),
        ("live children", include_str!("queries/children_live.sql"), "USING INDEX job_child_live"),
        ("abandoned", include_str!("queries/abandoned.sql"), "USING INDEX job_child_live"),
        ("waiting", include_str!("queries/count_waiting.sql"), "USING INDEX job_active"),
        ("list", &list, "USING INDEX job_id"),
        ("list running", &list_running, "USING INDEX job_active"),
        ("list failed", &list_unhappy, "USING INDEX job_unhappy"),
    ];
    for (name, sql, index) in queries {
        let plan = plan(&db, sql);
        assert!(plan.iter().any(|step| step.contains(index)), "{name}: {plan:#?}");
        let bad = plan
            .iter()
            .find(|step| step.contains("TEMP B-TREE") || (step.starts_with("SCAN job") && !step.contains("USING")));
        // Those that run are few, and are put in order when somebody asks for them; what is held back is counted at a start.
        assert!(bad.is_none() || ["list running", "waiting", "count blocked"].contains(&name), "{name}: {plan:#?}");
    }
}

#[test]
fn a_place_in_a_long_lane_is_found_without_reading_the_lane() {
    let (_directory, db) = database();
    let position = plan(&db, include_str!("queries/position.sql"));
    for range in ["tenant=? AND rank<?)", "tenant=? AND rank=? AND rowid<?)"] {
        assert!(position.iter().any(|step| step.contains(range)), "{position:#?}");
    }
}

#[test]
fn lanes_are_found_whatever_their_names() {
    let (_directory, db) = database();
    let random = Ids::seeded(5);
    let mut expected = std::collections::BTreeSet::new();
    for no in 0..400 {
        let name = |most: u64| format!("n{}", random.random() % most);
        let (queue, kind, tenant, phase) = (name(4), name(3), name(5), i64::from(random.random().is_multiple_of(4)));
        db.execute(
            "INSERT INTO job (no, tenant, id, kind, queue, rank, priority, phase, version, attempt, crashes, last_seq,
               created_at, max_attempts, backoff_initial_ms, backoff_max_ms, retention)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, 1, 0, 0, 1, 0, 1, 0, 0, 0)",
            rusqlite::params![no, tenant, [0_u8; 8].map(|_| (random.random() & 0xff) as u8), kind, queue, phase],
        )
        .unwrap();
        if phase == 0 {
            expected.insert((queue, kind, tenant));
        }
    }
    let mut statement = db.prepare(include_str!("queries/lanes.sql")).unwrap();
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let found: Vec<(String, String, String)> = found.collect::<Result<_, _>>().unwrap();
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
}
