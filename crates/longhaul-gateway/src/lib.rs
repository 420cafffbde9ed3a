//! Models, the targets behind them, the layers around them, and the port through which tasks call them.
//!
//! A [`Gateway`] is made of [`GatewaySettings`]: providers, and models in front of them. A call names a model and goes
//!
//! ```text
//! cache → deadline → fallback over targets → [ retry → breaker → limits → attempt timeout → provider ]
//! ```
//!
//! with the layers of `longhaul-resilience`; why in this order is told in its `builder` module. What a provider says is
//! decoded by `longhaul-providers`, which alone knows vendors' JSON. Every call, answered or not, leaves a
//! [`CallRecord`]: what each layer decided and when, who answered, what it cost.
//!
//! A task that works on texts asks [`Models`] for a model by name and speaks to it through [`Model`], whoever stands
//! behind it: the built-in algorithms, or a model of the gateway.
//!
//! Invariants:
//!
//! - Nothing here knows of jobs. A call that is not worth waiting for ends in [`Failure::Park`]; what keeps it is another's
//!   affair.
//! - No lock is held across an await, and none on the way of a call is held for longer than a few instructions.
//! - Dropping a call or a stream gives back everything: connection, permit, reserved tokens, place.
//! - Only base URLs of the configuration are called.

mod analysis;
mod asked;
mod call;
mod configured;
mod error;
mod exchanges;
mod gateway;
mod http;
mod local;
mod model;
mod models;
mod nearest;
mod port;
mod provider;
mod record;
mod rolling;
mod served;
pub mod settings;
mod simulated;
mod stats;
mod stream;
mod target;

/// What a call is made of: [`chat`](longhaul_providers::chat), [`embeddings`](longhaul_providers::embeddings), and the façades
/// that read a client's request and write the answer as its SDK expects it.
pub use longhaul_providers as providers;

pub use analysis::{Analysis, AnalysisProblem, AnalysisResult};
pub use asked::{Analysed, InstanceCheck, MOST_ANSWERS, NotAnalysed, WhyNot};
pub use call::CallOptions;
pub use error::{Failure, GatewayError};
pub use exchanges::{CallTrace, ProviderCall};
pub use gateway::{
    BadGateway, BreakerHand, BreakerView, CacheView, ChatAnswer, EmbeddingsAnswer, Gateway, GatewayOptions, LayerView,
    LimitView, ModelFigures, ModelView, ModelsWindow, Observer, PlacesView, Reloaded, RetryView, StackView,
    TargetCheck, TargetView, Told, UnknownTarget,
};
pub use http::{BadBaseUrl, Endpoint, HttpAnswer, HttpCaller, HttpFailure, PoolSettings};
pub use local::{LOCAL_MODEL, LocalModel};
pub use longhaul_providers::analysis::{
    Classification, Entity, EntityKind, Keyword, LabelScore, Language, Sentiment, SentimentLabel,
};
pub use longhaul_providers::local::{Bm25, Hit};
pub use longhaul_providers::{ErrorClass, Operation};
/// How long things took, in fixed memory.
pub use longhaul_resilience::HistogramCounts;
pub use models::{Models, UnknownModel};
pub use nearest::nearest;
pub use port::{Capabilities, Embeddings, Model, ModelError, ModelFuture, Said};
pub use provider::BadProvider;
pub use record::{CacheUse, CallRecord, LayerNote, RecordedError};
pub use rolling::ModelWindow;
pub use settings::GatewaySettings;
pub use stats::{ModelStats, Percentiles, TargetStats};
pub use stream::ChatStream;
