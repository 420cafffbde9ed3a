//! Models, the targets behind them, and the port through which tasks call them.
//!
//! A task asks [`Models`] for a model by name and speaks to it through [`Model`], whoever stands behind it. The
//! gateway owns which models there are; what a provider does with a request is its own affair, and when to try again is
//! the caller's, who decides by [`ErrorClass`].
//!
//! Nothing here knows of jobs, and nothing depends on an async runtime.

mod analysis;
mod local;
mod model;
mod models;
mod nearest;

pub use analysis::{Analysis, AnalysisProblem, AnalysisResult};
pub use local::{LOCAL_MODEL, LocalModel};
pub use longhaul_providers::Operation;
pub use longhaul_providers::analysis::{
    Classification, Entity, EntityKind, Keyword, LabelScore, Language, Sentiment, SentimentLabel,
};
pub use longhaul_providers::local::{Bm25, Hit};
pub use model::{Capabilities, Embeddings, ErrorClass, Model, ModelError, ModelFuture};
pub use models::{Models, UnknownModel};
pub use nearest::nearest;
