//! What a gateway is made of: providers, models, targets, and the numbers of their layers.
//!
//! These are the settings with everything said: what a person left out has been filled in from a [`Preset`]. The
//! configuration file is read elsewhere. Two settings that are equal make the same gateway, which is how a reload knows
//! what it may keep.

mod preset;
mod price;

use std::collections::BTreeMap;
use std::time::Duration;

use longhaul_resilience::cache::Lifetime;
use longhaul_resilience::{Breaker, CachePolicy, Retry};

use crate::http::{Endpoint, PoolSettings};

pub use longhaul_providers::exchange::{Access, Secret};
pub use longhaul_providers::openai::Flavor;
pub use longhaul_providers::sim::SimSettings;
pub use longhaul_resilience::{Jitter, Scenario};
pub use preset::Preset;
pub use price::Price;

const HOUR: Duration = Duration::from_secs(3600);

/// Providers and models, by their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GatewaySettings {
    /// Who can be called.
    pub providers: BTreeMap<String, ProviderSettings>,
    /// What clients can ask for.
    pub models: BTreeMap<String, ModelSettings>,
}

/// The wire protocol of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// OpenAI's chat completions and embeddings, and all that speak it.
    OpenAi,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Anthropic,
    /// Gemini's contents.
    Gemini,
    /// The built-in algorithms: embeddings, no chat.
    Local,
    /// The simulated provider.
    Sim,
}

impl Wire {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::OpenAi, Self::Responses, Self::Anthropic, Self::Gemini, Self::Local, Self::Sim];

    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Responses => "openai-responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Local => "local",
            Self::Sim => "sim",
        }
    }

    /// The protocol of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wire| wire.name() == name)
    }

    /// Whether a network stands between.
    pub const fn is_remote(self) -> bool {
        match self {
            Self::OpenAi | Self::Responses | Self::Anthropic | Self::Gemini => true,
            Self::Local | Self::Sim => false,
        }
    }
}

/// Who can be called, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderSettings {
    /// What it speaks.
    pub wire: Wire,
    /// The product, where several speak one protocol in ways of their own.
    pub flavor: Flavor,
    /// Where it is; the protocol's own default if unset.
    pub base_url: Option<Endpoint>,
    /// Its key, headers that go with every request, what may be left out.
    pub access: Access,
    /// Its connections.
    pub pool: PoolSettings,
    /// Azure's API version: makes the model a deployment in the path.
    pub api_version: Option<String>,
    /// What the simulated provider is like.
    pub sim: SimSettings,
}

impl ProviderSettings {
    /// A provider of this protocol with everything else left to its defaults.
    pub fn new(wire: Wire) -> Self {
        Self {
            wire,
            flavor: Flavor::default(),
            base_url: None,
            access: Access::default(),
            pool: PoolSettings::default(),
            api_version: None,
            sim: SimSettings::default(),
        }
    }
}

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Serves {
    /// Conversations, and the analyses that are made of them.
    Chat,
    /// Vectors.
    Embeddings,
}

impl Serves {
    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
        }
    }
}

/// How one is chosen among the targets of a rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Choose {
    /// The first in the order of the file.
    #[default]
    First,
    /// By chance, each by its weight.
    Weighted,
    /// The one that is likely to answer soonest, by how long it took of late and how many calls it has.
    Latency,
}

impl Choose {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::First, Self::Weighted, Self::Latency];

    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Weighted => "weighted",
            Self::Latency => "latency",
        }
    }
}

/// What of a request makes two the same for the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum KeyOf {
    /// The request as it is.
    #[default]
    Exact,
    /// Texts without their case, punctuation and spacing. Good for questions of people, wrong for code and sums.
    Normalised,
}

impl KeyOf {
    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Normalised => "normalised",
        }
    }
}

/// The cache of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long an answer is fresh.
    pub ttl: Duration,
    /// How many there are; a change of it makes a new cache.
    pub max_entries: usize,
    /// How many bytes of memory its answers take together, about; a change of it makes a new cache. Answers above
    /// 256 KiB are not kept.
    pub max_bytes: usize,
    /// What is the same.
    pub key: KeyOf,
    /// How long past its time an answer is given while a fresh one is fetched.
    pub stale_while_revalidate: Duration,
    /// How long past its time an answer is given when the call fails.
    pub stale_if_error: Duration,
    /// How long a degraded answer is kept; not at all if unset.
    pub degraded_ttl: Option<Duration>,
}

impl CacheSettings {
    /// What the answers of one model take together unless told otherwise: 64 MiB.
    pub const MAX_BYTES: usize = 64 << 20;

    /// The cache recommended for a kind of traffic.
    pub fn of(scenario: Scenario) -> Self {
        let (ttl, max_entries) = match scenario {
            Scenario::Faq => (24 * HOUR, 1_000),
            Scenario::ProductInfo => (4 * HOUR, 5_000),
            Scenario::UserQuery => (HOUR, 10_000),
            Scenario::RealTime => (Duration::from_secs(300), 20_000),
        };
        Self {
            ttl,
            max_entries,
            max_bytes: Self::MAX_BYTES,
            key: KeyOf::Exact,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            degraded_ttl: None,
        }
    }

    pub(crate) fn policy(&self) -> CachePolicy {
        let policy = CachePolicy::ttl(self.ttl)
            .max_entries(self.max_entries)
            .stale_while_revalidate(self.stale_while_revalidate)
            .stale_if_error(self.stale_if_error);
        match self.degraded_ttl {
            Some(ttl) => policy.degraded_ttl(ttl),
            None => policy,
        }
    }

    /// How long an entry is worth keeping, and how long past its time.
    pub(crate) fn lifetime(&self) -> Lifetime {
        Lifetime { fresh: self.ttl, grace: self.stale_while_revalidate.max(self.stale_if_error) }
    }
}

/// What follows when a stream breaks after the client has seen a part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnCut {
    /// The stream ends with an error.
    #[default]
    Fail,
    /// The next target that can is given what was said and goes on from there; with none the stream ends with an error.
    Continue,
}

impl OnCut {
    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Continue => "continue",
        }
    }
}

/// What follows when the server dies in the middle of a background answer whose stream was being kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnInterrupt {
    /// Anew; what was told so far stays as an incomplete item.
    #[default]
    Restart,
    /// From what was told, if a target can; else as [`Restart`](Self::Restart).
    Continue,
    /// The answer has failed.
    Fail,
}

impl OnInterrupt {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Restart, Self::Continue, Self::Fail];

    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Continue => "continue",
            Self::Fail => "fail",
        }
    }
}

/// How long a stream may take. Until its first token the model's time-out and the target's attempt time-out hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSettings {
    /// Between two pieces. A byte now and then is no piece.
    pub idle: Duration,
    /// From the first byte sent to the last piece. How many bytes it may have is the provider's to say, see
    /// [`PoolSettings::max_answer_bytes`].
    pub total: Duration,
    /// When it breaks.
    pub on_cut: OnCut,
}

impl Default for StreamSettings {
    /// 30 s between pieces, 10 min in all.
    fn default() -> Self {
        Self { idle: Duration::from_secs(30), total: Duration::from_secs(600), on_cut: OnCut::Fail }
    }
}

/// A name that clients ask for, and what stands behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSettings {
    /// What it is for.
    pub serves: Serves,
    /// The whole call, retries and fallbacks included; of a stream the time until its first token.
    pub timeout: Duration,
    /// Answers that are kept.
    pub cache: Option<CacheSettings>,
    /// Among the targets of one rank.
    pub choose: Choose,
    /// How long streams may take.
    pub stream: StreamSettings,
    /// When the server dies within a background answer.
    pub on_interrupt: OnInterrupt,
    /// The length of its vectors, of a model for embeddings, if it is to be known before the first call.
    pub dimensions: Option<usize>,
    /// In the order in which they were written.
    pub targets: Vec<TargetSettings>,
    /// The last resort.
    pub canned: Option<Canned>,
}

impl ModelSettings {
    /// A model over these targets with the defaults of a preset and without a cache.
    pub fn of(preset: Preset, targets: Vec<TargetSettings>) -> Self {
        Self {
            serves: Serves::Chat,
            timeout: preset.timeout(),
            cache: None,
            choose: Choose::First,
            stream: StreamSettings::default(),
            on_interrupt: OnInterrupt::default(),
            dimensions: None,
            targets,
            canned: None,
        }
    }
}

/// One provider + upstream model, with its own layers.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetSettings {
    /// Its name within the model.
    pub name: String,
    /// The name of the provider.
    pub provider: String,
    /// The model, in the provider's words.
    pub model: String,
    /// Lower ranks are asked first.
    pub rank: u32,
    /// How often it is chosen among its equals.
    pub weight: u32,
    /// One attempt, of a stream until its first token.
    pub attempt_timeout: Duration,
    /// When to try again.
    pub retry: RetrySettings,
    /// When to stop asking.
    pub breaker: BreakerSettings,
    /// How much to ask at most.
    pub limit: LimitSettings,
    /// What tokens cost.
    pub price: Option<Price>,
}

impl TargetSettings {
    /// A target with the defaults of a preset, called as its upstream model is.
    pub fn of(preset: Preset, provider: impl Into<String>, model: impl Into<String>) -> Self {
        let model = model.into();
        Self {
            name: model.clone(),
            provider: provider.into(),
            model,
            rank: 0,
            weight: 1,
            attempt_timeout: preset.attempt_timeout(),
            retry: RetrySettings::default(),
            breaker: BreakerSettings::default(),
            limit: LimitSettings::default(),
            price: None,
        }
    }
}

/// When a target is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetrySettings {
    /// Attempts after the first.
    pub max_retries: u32,
    /// The first wait.
    pub initial: Duration,
    /// The longest wait, and the longest that a provider may ask for before the call is parked.
    pub max: Duration,
    /// How waits are spread.
    pub jitter: Jitter,
}

impl Default for RetrySettings {
    /// Three, from 1 s to 10 s, full jitter.
    fn default() -> Self {
        Self { max_retries: 3, initial: Duration::from_secs(1), max: Duration::from_secs(10), jitter: Jitter::Full }
    }
}

impl RetrySettings {
    pub(crate) fn layer(&self) -> Retry {
        Retry::exponential(self.initial, self.max).max_retries(self.max_retries).jitter(self.jitter)
    }
}

/// When a target is no longer asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// What opens it.
    pub trip: Trip,
    /// How long it stays open before a probe.
    pub open_for: Duration,
    /// Successful probes that close it.
    pub successes: u32,
    /// Probes at once.
    pub probes: u32,
}

/// What opens a breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trip {
    /// So many failures in a row.
    Consecutive(u32),
    /// This part of the calls in a window, once there are enough.
    Rate {
        /// 0 to 1.
        rate: f64,
        /// How far back.
        window: Duration,
        /// Fewer calls than this say nothing.
        min_calls: u32,
    },
}

impl Default for BreakerSettings {
    /// Five failures in a row open it for 60 s; two successes, one probe at a time, close it.
    fn default() -> Self {
        Self { trip: Trip::Consecutive(5), open_for: Duration::from_secs(60), successes: 2, probes: 1 }
    }
}

impl BreakerSettings {
    pub(crate) fn layer(&self) -> Breaker {
        let breaker = match self.trip {
            Trip::Consecutive(failures) => Breaker::consecutive(failures),
            Trip::Rate { rate, window, min_calls } => Breaker::rate(rate).window(window).min_calls(min_calls),
        };
        breaker.open_for(self.open_for).successes(self.successes).probes(self.probes)
    }
}

/// How much a target is asked at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitSettings {
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute, of requests and answers together.
    pub tpm: Option<u64>,
    /// Calls at once.
    pub concurrency: Option<u32>,
}

/// Replies that need no model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Canned {
    /// The first that fits is given.
    pub rules: Vec<CannedRule>,
    /// When none fits.
    pub otherwise: Option<String>,
}

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannedRule {
    /// It fits if the last thing that the person said holds one of these words or phrases, whatever their case.
    pub contains: Vec<String>,
    /// What is said then.
    pub reply: String,
}

impl Canned {
    /// What is said to this.
    pub fn reply(&self, text: &str) -> Option<&str> {
        let text = text.to_lowercase();
        let fits = |rule: &&CannedRule| rule.contains.iter().any(|words| text.contains(&words.to_lowercase()));
        self.rules.iter().find(fits).map(|rule| rule.reply.as_str()).or(self.otherwise.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_canned_reply_that_fits_is_given_whatever_the_case() {
        let rule = |words: &[&str], reply: &str| CannedRule {
            contains: words.iter().map(|&word| word.to_owned()).collect(),
            reply: reply.to_owned(),
        };
        let canned = Canned {
            rules: vec![rule(&["help"], "ask"), rule(&["HOURS", "open"], "nine to five")],
            otherwise: Some("later".to_owned()),
        };
        assert_eq!(canned.reply("When do you OPEN?"), Some("nine to five"));
        assert_eq!(canned.reply("Help me open it"), Some("ask"));
        assert_eq!(canned.reply(""), Some("later"));
        assert_eq!(Canned { otherwise: None, ..canned }.reply("x"), None);
    }

    #[test]
    fn the_scenarios_are_those_of_the_library() {
        for scenario in Scenario::ALL {
            assert_eq!(CacheSettings::of(scenario).policy(), scenario.policy(), "{scenario:?}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let access = Access { api_key: Some(Secret::new("hunter2")), ..Access::default() };
        let provider = ProviderSettings { access, ..ProviderSettings::new(Wire::OpenAi) };
        assert!(!format!("{provider:?}").contains("hunter2"));
    }
}
