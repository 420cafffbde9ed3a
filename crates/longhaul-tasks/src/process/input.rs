//! The input of `process`, read.

use std::{collections::HashSet, sync::Arc};

use longhaul_core::Span;
use longhaul_engine::FieldError;
use longhaul_gateway::{Analysis, ErrorClass, Model, ModelError, Operation};
use longhaul_providers::chat::{ChatRequest, Dialect, Message, Role};

use super::{DEFAULT_TIMEOUT, output::Json};
use crate::{
    agent::messages,
    analysis,
    calls::Calls,
    fields::{self, Fields, Place},
    text::MAX_TEXT_CHARS,
};

pub(super) const MAX_ITEMS: usize = 100;
pub(super) const MAX_ID_CHARS: usize = 100;
/// The model that is there without being configured, and made up.
const SIMULATED: &str = "sim";
/// Texts of one item that asks for embeddings.
pub(super) const MAX_EMBED_TEXTS: usize = 256;
pub(super) const MAX_MESSAGES: usize = 1_000;
pub(super) const MAX_TIMEOUT_S: u64 = 60;

pub(super) const TASKS: [&str; 9] =
    ["chat", "embed", "summary", "keywords", "sentiment", "entities", "language", "classify", "extract"];

/// What to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessInput {
    /// The questions, 1 to 100, no two of the same id.
    pub items: Vec<Item>,
    /// Whom to ask; none: the default of the kind.
    pub model: Option<String>,
    /// How long whoever asks over HTTP wants to wait for the answer. The job goes on after it.
    pub timeout: Span,
    /// Whether answers may come from the cache; what is asked anew is kept for others in any case.
    pub cache: bool,
}

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// As the client named it; its place in the list, from 0, when it did not.
    pub id: String,
    /// What is asked.
    pub task: Task,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// A conversation.
    Chat(Arc<ChatRequest>),
    /// Vectors of these texts.
    Embed(Arc<[String]>),
    /// Something about a text.
    Analyse(Arc<str>, Analysis),
}

impl Task {
    /// What a model must be able to do to answer it.
    pub fn operation(&self) -> Operation {
        match self {
            Task::Chat(_) => Operation::Chat,
            Task::Embed(_) => Operation::Embed,
            Task::Analyse(_, analysis) => analysis.operation(),
        }
    }

    /// Asks a model that has no stack of its own.
    pub(super) async fn ask(self, calls: &Calls, model: &Arc<dyn Model>) -> Result<Json, ModelError> {
        match self {
            Task::Embed(texts) => Json::of(&calls.embed(model, texts).await?),
            Task::Analyse(text, analysis) => Json::of(&calls.analyse(model, text, analysis).await?),
            Task::Chat(request) => Json::of(&model.chat(request).await?.text),
        }
    }
}

impl ProcessInput {
    pub(super) fn read(json: &str, calls: &Calls, default_model: Option<&str>) -> Result<Self, Vec<FieldError>> {
        fields::read(json, |place| {
            let fields = place.fields()?;
            let items = match (fields.optional("items"), fields.optional("query")) {
                (Some(items), None) => items.list(1..=MAX_ITEMS).and_then(|items| read_items(&items, calls)),
                (None, Some(query)) => query.text(MAX_TEXT_CHARS).map(|text| vec![Item::query(text)]),
                (Some(_), Some(query)) => {
                    query.refuse("cannot be given together with `items`: a query is a short form of one chat item");
                    None
                }
                (None, None) => {
                    fields.refuse("items", "is required, or `query` in its place");
                    None
                }
            };
            let model = analysis::input::model(&fields, "model", calls, default_model);
            let timeout = match fields.optional("timeout_s") {
                Some(place) => place.integer(1..=MAX_TIMEOUT_S).map(Span::from_secs),
                None => Some(DEFAULT_TIMEOUT.into()),
            };
            let cache = match fields.optional("cache") {
                Some(place) => place.boolean(),
                None => Some(true),
            };
            let is_query = fields.has("query");
            fields.finish();
            let (items, model) = (items?, model?);
            refuse_impossible(&place, &items, is_query, |operation| {
                calls.model_for(model.as_deref(), default_model, operation).map_err(|error| advised(error, calls))
            });
            Some(Self { items, model, timeout: timeout?, cache: cache? })
        })
    }
}

/// What a model cannot do, with the way out for those who only want to try.
fn advised(mut error: ModelError, calls: &Calls) -> ModelError {
    if error.class == ErrorClass::Unsupported && calls.models.get_for(Some(SIMULATED), Operation::Chat).is_ok() {
        error.message.push_str(
            "; configure one under [providers] and [models], or, to try things out, ask for the simulated model by \
             name: \"model\": \"sim\"",
        );
    }
    error
}

/// Refuses the items that the model cannot answer, by their place.
fn refuse_impossible(
    place: &Place<'_>,
    items: &[Item],
    is_query: bool,
    model: impl Fn(Operation) -> Result<Arc<dyn Model>, ModelError>,
) {
    for (index, item) in items.iter().enumerate() {
        let at = if is_query { "/query".to_owned() } else { format!("/items/{index}/task") };
        match (model(item.task.operation()), &item.task) {
            (Err(error), _) => place.refuse_below(&at, error.message),
            (Ok(model), Task::Embed(texts)) if texts.len() > model.capabilities().max_embed_texts => {
                let most = model.capabilities().max_embed_texts;
                place.refuse_below(
                    &format!("/items/{index}/input"),
                    format!("has {} items; the model `{}` takes at most {most}", texts.len(), model.name()),
                );
            }
            (Ok(_), _) => {}
        }
    }
}

fn read_items(places: &[Place<'_>], calls: &Calls) -> Option<Vec<Item>> {
    let mut ids = HashSet::new();
    // Every item is read, also after one that is wrong.
    let items: Vec<Option<Item>> = places
        .iter()
        .enumerate()
        .map(|(index, place)| {
            let item = read_item(index, place, calls)?;
            if ids.insert(item.id.clone()) {
                return Some(item);
            }
            place.refuse_below("/id", format!("is {:?}, which another item has, too", item.id));
            None
        })
        .collect();
    items.into_iter().collect()
}

fn read_item(index: usize, place: &Place<'_>, calls: &Calls) -> Option<Item> {
    let fields = place.fields()?;
    let id = match fields.optional("id") {
        Some(place) => place.text(MAX_ID_CHARS).map(str::to_owned),
        None => Some(index.to_string()),
    };
    let task = fields.required("task").and_then(|place| place.word(&TASKS));
    let input = fields.required("input");
    fields.finish();
    let task = task_of(task?, &input?, calls);
    Some(Item { id: id?, task: task? })
}

fn task_of(task: &'static str, input: &Place<'_>, calls: &Calls) -> Option<Task> {
    let analyse = |analysis| Some(Task::Analyse(input.text(MAX_TEXT_CHARS)?.into(), analysis));
    match task {
        "chat" => chat(input),
        "embed" => embed(input),
        "summary" => analyse(Analysis::Summary),
        "keywords" => analyse(Analysis::Keywords),
        "sentiment" => analyse(Analysis::Sentiment),
        "entities" => analyse(Analysis::Entities),
        "language" => analyse(Analysis::Language),
        "classify" | "extract" => with_parameter(task, input, calls),
        _ => None,
    }
}

fn embed(input: &Place<'_>) -> Option<Task> {
    if input.value().is_string() {
        return Some(Task::Embed([input.text(MAX_TEXT_CHARS)?.to_owned()].into()));
    }
    if !input.value().is_array() {
        input.refuse("must be a text or a list of texts");
        return None;
    }
    let texts: Vec<Option<String>> =
        input.list(1..=MAX_EMBED_TEXTS)?.iter().map(|place| place.text(MAX_TEXT_CHARS).map(str::to_owned)).collect();
    texts.into_iter().collect::<Option<Vec<_>>>().map(|texts| Task::Embed(texts.into()))
}

fn chat(input: &Place<'_>) -> Option<Task> {
    if input.value().is_string() {
        return Some(Task::Chat(said_by_user(input.text(MAX_TEXT_CHARS)?)));
    }
    if !input.value().is_array() {
        input.refuse("must be a text or a list of messages");
        return None;
    }
    let mut fine = true;
    for message in input.list(1..=MAX_MESSAGES)? {
        if !message.value().is_object() {
            message.refuse("must be a message: an object with `role` and `content`");
            fine = false;
        }
    }
    let messages = fine.then(|| messages(input)).flatten()?;
    // What only OpenAI's protocol knows stands in the messages as it was written.
    let request = ChatRequest { messages, dialect: Dialect::OpenAi, ..ChatRequest::default() };
    Some(Task::Chat(Arc::new(request)))
}

fn said_by_user(text: &str) -> Arc<ChatRequest> {
    // White space around a question is no part of it, and must not keep it from its answer in the cache.
    let messages = vec![Message::text(Role::User, text.trim())];
    Arc::new(ChatRequest { messages, dialect: Dialect::OpenAi, ..ChatRequest::default() })
}

/// `classify` and `extract`: a text and what to do with it.
fn with_parameter(task: &'static str, input: &Place<'_>, calls: &Calls) -> Option<Task> {
    let parameter = if task == "classify" { "labels" } else { "schema" };
    let fields: Fields<'_> = input.fields()?;
    let text = fields.required("text").and_then(|place| place.text(MAX_TEXT_CHARS));
    let given = fields.required(parameter);
    fields.finish();
    let given = given?;
    // The gateway reads the parameter as it does in a list of analyses; its pointers begin there.
    let entry = serde_json::json!({ task: { parameter: given.value() } });
    let analysis = match Analysis::parse(&entry) {
        Ok(analysis) => match calls.schemas.complaint(&analysis) {
            None => Some(analysis),
            Some(why) => {
                given.refuse(why);
                None
            }
        },
        Err(problem) => {
            let above = format!("/{task}/{parameter}");
            given.refuse_below(problem.pointer.strip_prefix(above.as_str()).unwrap_or_default(), problem.message);
            None
        }
    };
    Some(Task::Analyse(text?.into(), analysis?))
}

impl Item {
    fn query(text: &str) -> Self {
        Self { id: "0".to_owned(), task: Task::Chat(said_by_user(text)) }
    }
}
