//! What is refused at the submit, and that the published schema says the same.

use longhaul_engine::Executor;
use longhaul_gateway::Models;
use longhaul_tasks::{TaskSettings, built_in};
use serde_json::{Value, json};
use std::sync::Arc;

fn executor(kind: &str) -> Arc<dyn Executor> {
    let kinds = built_in(Arc::new(Models::default()), TaskSettings::default());
    kinds.executors.into_iter().find(|executor| executor.kind().name.as_str() == kind).unwrap()
}

/// What the reader says, as `pointer message`.
fn said(kind: &str, input: &Value) -> Vec<String> {
    let executor = executor(kind);
    let errors = executor.check().unwrap().check(&input.to_string());
    errors.into_iter().map(|error| format!("{} {}", error.pointer, error.message)).collect()
}

/// How an example stands with schema and reader.
enum Example {
    /// Both take it.
    Good(Value),
    /// Both refuse it; the reader names these places.
    Bad(Value, &'static [&'static str]),
    /// No schema can say it; the reader names these places.
    Deeper(Value, &'static [&'static str]),
}

use Example::{Bad, Deeper, Good};

const DOC: &str = "doc_0190d4a4c6f07a6cb8a2d0fd4a3bb3c1";

fn agree(kind: &str, examples: Vec<Example>) {
    let executor = executor(kind);
    let schema = executor.kind().input_schema.clone().unwrap();
    jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{kind}: {error}"));
    jsonschema::meta::validate(executor.kind().output_schema.as_ref().unwrap()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for example in examples {
        let (input, by_schema, places) = match &example {
            Good(input) => (input, true, &[][..]),
            Bad(input, places) => (input, false, *places),
            Deeper(input, places) => (input, true, *places),
        };
        let errors = executor.check().unwrap().check(&input.to_string());
        let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, places, "{kind} {input:.300}: {errors:?}");
        assert_eq!(schema.is_valid(input), by_schema, "the schema of {kind} on {input:.300}");
    }
}

#[test]
fn schema_and_reader_of_analysis_agree() {
    agree(
        "analysis",
        vec![
            Good(json!({"text": "A fine day."})),
            Good(json!({"document_id": DOC, "on_failure": "fail", "model": "local"})),
            Good(json!({"text": "x", "analyses": [
                "summary", "keywords", "sentiment", "entities", "language",
                {"classify": {"labels": ["a", "b"]}}, {"extract": {"schema": {"type": "object"}}}
            ]})),
            Bad(json!([]), &[""]),
            Bad(json!({}), &["/text"]),
            Bad(json!({"text": "x", "document_id": DOC}), &["/document_id"]),
            Bad(json!({"text": "  \n"}), &["/text"]),
            Bad(json!({"text": null}), &["/text"]),
            Bad(json!({"document_id": "doc_1"}), &["/document_id"]),
            Bad(json!({"text": "x", "analyses": []}), &["/analyses"]),
            Bad(
                json!({"text": "x", "analyses": ["sumary", {"classify": {"labels": []}}]}),
                &["/analyses/0", "/analyses/1/classify/labels"],
            ),
            Bad(
                json!({"txt": "x", "analysis": 1, "on_failure": "never"}),
                &["/text", "/on_failure", "/analysis", "/txt"],
            ),
            Deeper(json!({"text": "x", "model": "gpt"}), &["/model"]),
            Deeper(
                json!({"text": "x", "analyses": [
                    {"classify": {"labels": ["a"]}}, {"classify": {"labels": ["b"]}}
                ]}),
                &["/analyses/1"],
            ),
        ],
    );
}

#[test]
fn schema_and_reader_of_process_agree() {
    let item = |task: &str, input: Value| json!({"items": [{"task": task, "input": input}]});
    let many = |count: usize| json!({"items": vec![json!({"task": "language", "input": "x"}); count]});
    agree(
        "process",
        vec![
            Good(item("summary", json!("A fine day."))),
            Good(item("embed", json!(["a", "b"]))),
            Good(item("embed", json!("a"))),
            Good(item("classify", json!({"text": "a", "labels": ["x"]}))),
            Good(json!({"items": [{"id": "k", "task": "keywords", "input": "x"}], "timeout_s": 60, "cache": false})),
            Good(many(100)),
            Bad(many(101), &["/items"]),
            Bad(json!({"items": []}), &["/items"]),
            Bad(json!({}), &["/items"]),
            Bad(json!({"items": [{"task": "language", "input": "x"}], "query": "x"}), &["/query"]),
            Bad(json!({"items": [{"task": "language", "input": "x"}], "timeout_s": 61}), &["/timeout_s"]),
            Bad(json!({"items": [{"task": "language", "input": "x"}], "cache": "no"}), &["/cache"]),
            Bad(item("summary", json!({"text": "x"})), &["/items/0/input"]),
            Bad(item("embed", json!([])), &["/items/0/input"]),
            Bad(item("embed", json!(["a", " "])), &["/items/0/input/1"]),
            Bad(item("sumary", json!("x")), &["/items/0/task"]),
            Bad(item("classify", json!({"text": "a", "labels": ["x", ""]})), &["/items/0/input/labels/1"]),
            Bad(
                item("classify", json!({"labels": 3, "top": 1})),
                &["/items/0/input/text", "/items/0/input/top", "/items/0/input/labels"],
            ),
            Bad(
                json!({"items": [{"id": "", "tsk": "x"}, 7]}),
                &["/items/0/id", "/items/0/task", "/items/0/input", "/items/0/tsk", "/items/1"],
            ),
            Deeper(json!({"query": "What is a lantern?"}), &["/query"]),
            Deeper(item("chat", json!("Hello?")), &["/items/0/task"]),
            Deeper(item("extract", json!({"text": "a", "schema": {}})), &["/items/0/task"]),
            Deeper(
                json!({"items": [
                    {"id": "a", "task": "language", "input": "x"}, {"id": "a", "task": "language", "input": "y"}
                ]}),
                &["/items/1/id"],
            ),
        ],
    );
}

#[test]
fn schema_and_reader_of_document_ingest_agree() {
    let with = |mut options: Value| {
        options["document_id"] = DOC.into();
        options
    };
    agree(
        "document.ingest",
        vec![
            Good(with(json!({}))),
            Good(with(
                json!({"chunk": {"tokens": 100}, "embed": false, "summary": {"model": "local"}, "ocr": "never"}),
            )),
            Good(with(json!({"embed": {}, "summary": false, "language": "eng+chi_sim"}))),
            Bad(json!({}), &["/document_id"]),
            Bad(with(json!({"chunk": {"tokens": "many"}, "langauge": "eng"})), &["/chunk/tokens", "/langauge"]),
            Bad(with(json!({"chunk": {"tokens": 8193, "size": 3}})), &["/chunk/tokens", "/chunk/size"]),
            Bad(with(json!({"embed": true, "summary": "local"})), &["/embed", "/summary"]),
            Bad(with(json!({"ocr": "sometimes", "language": "English"})), &["/ocr", "/language"]),
            Bad(with(json!({"embed": {"modle": "x"}})), &["/embed/modle"]),
            Deeper(with(json!({"chunk": {"tokens": 64, "overlap": 33}})), &["/chunk/overlap"]),
            Good(with(json!({"chunk": {"tokens": 64, "overlap": 32}}))),
            Deeper(with(json!({"embed": {"model": "ada"}})), &["/embed/model"]),
        ],
    );
}

#[test]
fn what_the_local_model_cannot_do_names_the_item_and_the_way_out() {
    let found = said(
        "process",
        &json!({"items": [
            {"task": "language", "input": "x"}, {"task": "chat", "input": "x"},
            {"task": "extract", "input": {"text": "x", "schema": {}}}
        ]}),
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("/items/1/task the local provider cannot chat"), "{found:?}");
    assert!(found[1].starts_with("/items/2/task the local provider cannot extract"), "{found:?}");
    assert!(found.iter().all(|line| line.contains("configure a provider and a model")), "{found:?}");
    assert!(found.iter().all(|line| !line.contains("sim")), "there is no such model yet: {found:?}");
}

#[test]
fn an_unknown_field_and_an_unknown_model_are_told_with_the_nearest_known() {
    let found = said("document.ingest", &json!({"document_id": DOC, "langauge": "eng"}));
    assert_eq!(found, ["/langauge is not a known field; did you mean `language`?"]);
    let found = said("analysis", &json!({"text": "x", "model": "locla"}));
    assert_eq!(found, ["/model there is no model `locla`; did you mean `local`? known are local"]);
}

#[test]
fn what_is_no_json_is_refused_and_echo_takes_everything() {
    let errors = executor("process").check().unwrap().check("{\"items\":");
    assert!(errors[0].pointer.is_empty() && errors[0].message.starts_with("is not JSON"), "{errors:?}");
    assert!(executor("echo").check().is_none());
}

/// Inputs that are nearly good: every place of a good one replaced by every odd value, left out, or given a stranger.
fn nearly(good: &Value) -> Vec<Value> {
    let odd = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1),
        json!(1.5),
        json!(7.0),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!(" "),
        json!("x"),
        json!("é".repeat(300)),
        json!("local"),
        json!("partial"),
        json!([]),
        json!({}),
        json!([1]),
        json!(["x"]),
        json!([" "]),
        json!(["x", "x"]),
        json!({"x": 1}),
        json!({"text": "x"}),
        json!({"model": "local"}),
        json!({"labels": ["x"]}),
        json!({"role": "user"}),
    ];
    let mut found = Vec::new();
    let mut places = vec![String::new()];
    while let Some(place) = places.pop() {
        let mut replace = |value: &Value| {
            let mut changed = good.clone();
            *changed.pointer_mut(&place).unwrap() = value.clone();
            found.push(changed);
        };
        odd.iter().for_each(&mut replace);
        match good.pointer(&place).unwrap() {
            Value::Object(fields) => {
                for name in fields.keys() {
                    let mut without = fields.clone();
                    without.remove(name);
                    replace(&Value::Object(without));
                    places.push(format!("{place}/{name}"));
                }
                let mut with = fields.clone();
                with.insert("stranger".into(), json!(1));
                replace(&Value::Object(with));
            }
            Value::Array(entries) => places.extend((0..entries.len()).map(|index| format!("{place}/{index}"))),
            _ => {}
        }
    }
    found
}

#[test]
fn what_a_reader_takes_its_schema_takes_too_and_every_refusal_names_a_place() {
    let good = [
        (
            "analysis",
            json!({"text": "x", "model": "local", "on_failure": "fail", "analyses": [
                "summary", {"classify": {"labels": ["a", "b"]}}, {"extract": {"schema": {"type": "object"}}}
            ]}),
        ),
        ("analysis", json!({"document_id": DOC})),
        (
            "process",
            json!({"model": "local", "timeout_s": 9, "cache": true, "items": [
                {"id": "a", "task": "summary", "input": "x"}, {"task": "embed", "input": ["x", "y"]},
                {"task": "classify", "input": {"text": "x", "labels": ["a", "b"]}}, {"task": "embed", "input": "x"}
            ]}),
        ),
        (
            "document.ingest",
            json!({
                "document_id": DOC, "chunk": {"tokens": 100, "overlap": 10}, "embed": {"model": "local"}, "ocr": "auto",
                "language": "eng", "summary": false
            }),
        ),
    ];
    let (mut taken, mut refused) = (0, 0);
    for (kind, good) in good {
        let executor = executor(kind);
        let schema = jsonschema::validator_for(executor.kind().input_schema.as_ref().unwrap()).unwrap();
        for input in nearly(&good) {
            let errors = executor.check().unwrap().check(&input.to_string());
            if errors.is_empty() {
                assert!(schema.is_valid(&input), "{kind} takes {input}, and its schema does not");
                taken += 1;
            } else {
                // A place that is there, or a field that is missing from one that is.
                for error in &errors {
                    let above = error.pointer.rsplit_once('/').map_or("", |(above, _)| above);
                    assert!(input.pointer(above).is_some(), "{kind} {input}: {error:?}");
                }
                refused += 1;
            }
        }
    }
    assert!(taken > 50 && refused > 500, "{taken} taken, {refused} refused");
}
