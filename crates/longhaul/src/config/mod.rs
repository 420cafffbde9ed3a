//! The configuration: defaults < `longhaul.toml` < `LONGHAUL__…` variables < flags, read strictly.
//!
//! [`load`] gives the settings, where each value came from, and every problem at once; nothing is guessed and nothing
//! unknown is passed over. The keys live in [`settings`], each written once (see [`section`]); the reference page is
//! made from them. Nothing here opens a socket or the store: it reads the named file and the given [`Environment`].

mod assemble;
mod document;
mod duration;
mod environment;
mod exposure;
mod limit_values;
mod load;
mod model_values;
mod models;
mod overrides;
mod problem;
mod reader;
mod reference;
mod schema;
mod secret;
mod section;
mod setting;
mod settings;
mod size;
mod tools;
mod values;

pub use assemble::BUILT_IN_MODELS;
pub use duration::{format as format_duration, parse as parse_duration};
pub use environment::Environment;
pub use exposure::{Exposed, refuse_if_exposed};
pub use limit_values::{KindLimit, KindLimits};
pub use load::{FileSource, Flag, Loaded, Sources, load};
pub use model_values::{Count, Dollars, HeaderText, Headers, Replies, Share, Temper, Text};
pub use models::{ModelSection, ProviderSection, TargetSection};
pub use problem::{FilePlace, Place, Problem, Problems, nearest};
pub use reader::{Effective, Reader, SectionPath};
pub use reference::reference_page;
pub use schema::{BUILT_IN_KINDS, SectionInfo, sections, variable};
pub use secret::{Reference, Secret};
pub use section::{KeyInfo, Section};
pub use setting::Setting;
pub use settings::{
    KindSettings, LimitSettings, QueueSettings, ServerSettings, Settings, StoreSettings, TelemetrySettings,
    TenantSettings,
};
pub use size::ByteSize;
pub use tools::{SchemaTable, ToolMethod, ToolSection};
pub use values::{DatabaseUrl, LogFilter, LogFormat, ModelName, Name, Network, Origin, StoreUrl};
