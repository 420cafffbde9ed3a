//! The built-in kinds of job: what the server itself can do with an input.
//!
//! Each kind is an [`Executor`](longhaul_engine::Executor) of the engine. Here jobs and models meet: the engine knows
//! nothing of models, the gateway nothing of jobs.
//!
//! | kind | what it does |
//! |---|---|
//! | [`echo`] | gives its input back |
//! | [`agent`] | a model that uses tools, each of them a kind, until it has an answer |
//! | [`analysis`] | asks a model several things about one text |
//! | [`process`] | asks many small things at once, with a cache |
//! | [`llm`] | `llm.chat`, `llm.response`, `llm.embeddings`: calls to models, as their routes take them |
//! | [`documents`] | `document.ingest`: text, pieces, vectors and a summary of an uploaded document |
//!
//! [`built_in`] makes them all but those of [`llm`], which need a gateway: [`llm::executors`]. Every kind publishes the JSON Schema of its input and checks inputs with a reader of its
//! own, which names every bad field at once; a test holds the two together. What a kind does once and must not do again
//! after a crash is a step of its job.

pub mod agent;
pub mod analysis;
mod asked;
mod calls;
pub mod documents;
pub mod echo;
mod fields;
pub mod llm;
pub mod process;
mod schemas;
mod settings;
mod spec;
mod text;

pub use agent::{Agent, HttpTools};
pub use analysis::Analyses;
pub use calls::TaskError;
pub use documents::Ingest;
pub use echo::Echo;
pub use process::{Process, ProcessInput, ProcessOutput};
pub use settings::{BuiltIn, TaskSettings, built_in};
