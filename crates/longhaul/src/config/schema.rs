//! The list of sections: which exist, which carry names, which come later.

use super::models::{ModelSection, ProviderSection, TargetSection};
use super::section::{KeyInfo, Section};
use super::settings::{
    KindSettings, LimitSettings, QueueSettings, ServerSettings, StoreSettings, TelemetrySettings, TenantSettings,
};
use super::tools::ToolSection;

/// A section of the file.
#[derive(Debug, Clone)]
pub struct SectionInfo {
    /// Its name in the file.
    pub name: &'static str,
    /// Whether it exists once per name: `[queues.NAME]`.
    pub named: bool,
    /// What it is for.
    pub about: String,
    /// Its keys.
    pub keys: Vec<KeyInfo>,
}

/// The kinds that are built in: those that a section may be about, and that an environment variable may name without a
/// file having done so.
pub const BUILT_IN_KINDS: [&str; 10] = [
    "echo",
    "document.ingest",
    "analysis",
    "process",
    "agent",
    "llm.chat",
    "llm.embeddings",
    "llm.response",
    "llm.kept",
    "flow",
];

/// Every section that exists, in the order of the reference page.
#[must_use]
pub fn sections() -> Vec<SectionInfo> {
    fn info<S: Section>(name: &'static str, named: bool) -> SectionInfo {
        SectionInfo { name, named, about: S::about(), keys: S::keys() }
    }
    vec![
        info::<ServerSettings>("server", false),
        info::<StoreSettings>("store", false),
        info::<QueueSettings>("queues", true),
        info::<KindSettings>("kinds", true),
        info::<TenantSettings>("tenants", true),
        info::<ProviderSection>("providers", true),
        info::<ModelSection>("models", true),
        info::<ToolSection>("tools", true),
        info::<LimitSettings>("limits", false),
        info::<TelemetrySettings>("telemetry", false),
    ]
}

/// The keys of a target, which is an entry of a list within a model.
pub(super) fn target_section() -> SectionInfo {
    SectionInfo { name: TARGETS, named: true, about: TargetSection::about(), keys: TargetSection::keys() }
}

/// The section of a model's targets, as it is named among the others; its entries are named `MODEL.targets[INDEX]`.
pub(super) const TARGETS: &str = "targets";

/// The name of one target among all.
pub(super) fn target_name(model: &str, index: usize) -> String {
    format!("{model}.targets[{index}]")
}

impl SectionInfo {
    /// The key with this path, if there is one.
    pub(super) fn key(&self, path: &str) -> Option<&KeyInfo> {
        self.keys.iter().find(|key| key.path == path)
    }

    /// Whether some key lies below this path.
    pub(super) fn leads_on(&self, path: &str) -> bool {
        self.keys.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
    }
}

/// The name of the environment variable that overrides a key. `NAME` stands for itself in named sections.
#[must_use]
pub fn variable(section: &str, name: Option<&str>, key: &str) -> String {
    let mut parts = vec![section.to_owned()];
    parts.extend(name.map(in_a_variable));
    parts.extend(key.split('.').map(str::to_owned));
    format!("LONGHAUL__{}", parts.join("__").to_uppercase())
}

/// A name as it can stand in a variable: what a shell does not allow there becomes `_`.
pub(super) fn in_a_variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
