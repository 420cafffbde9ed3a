//! `[providers.NAME]`, `[models.NAME]` and `[[models.NAME.targets]]`: their keys, what they are for, their defaults.
//!
//! What a key of a model or target is when it is left out comes from the model's `preset`; see [`super::assemble`].

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use longhaul_gateway::Endpoint;
use longhaul_gateway::settings::{Choose, Flavor, Jitter, KeyOf, OnCut, OnInterrupt, Preset, Scenario, Serves, Wire};

use super::model_values::{Count, Dollars, Headers, Replies, Share, Temper, Text};
use super::secret::Secret;
use super::section::section;
use super::size::ByteSize;
use super::values::Name;

const fn nonzero(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

section! {
    /// One provider of models: whom to call, and how. The name is part of the section: `[providers.openai]`. Only what
    /// stands here is ever called. `local` and `sim` are there without being configured.
    pub struct ProviderSection {
        /// The protocol it speaks. Unset: the provider's own name, if that is one. `openai` is also spoken by Azure,
        /// vLLM, Ollama, llama.cpp, Groq, Mistral and many others; see `flavor`.
        protocol("protocol"): Option<Wire> = None;
        /// The product, among those that speak `openai` each in their own way.
        flavor("flavor"): Option<Flavor> = None;
        /// Where it is. Unset: the protocol's or product's own.
        base_url("base_url"): Option<Endpoint> = None;
        /// Its key.
        api_key("api_key"): Option<Secret> = None;
        /// Headers that go with every request. The text of one that carries credentials (`authorization`, `x-api-key`, …)
        /// is named as a secret, `{ env = "NAME" }`.
        headers("headers"): Headers = Headers::default();
        /// Fields of a request that may be left out where the protocol cannot carry them, though the answer may then
        /// differ, such as `["seed"]`. Without this such a request goes to another target, or is refused.
        ignore("ignore"): Vec<Text> = Vec::new();
        /// Connections open at once, idle ones included.
        max_connections("max_connections"): NonZeroU32 = nonzero(256);
        /// How long connecting may take.
        connect_timeout("connect_timeout"): Duration = Duration::from_secs(5);
        /// How long a connection may lie idle and still be used. Below what the provider grants.
        idle_timeout("idle_timeout"): Duration = Duration::from_secs(60);
        /// The longest answer, whole or streamed.
        max_answer("max_answer"): ByteSize = ByteSize::mib(64);
        /// PEM file with certificates that are trusted beside the system's.
        ca("ca"): Option<PathBuf> = None;
        /// Azure's API version. Set, models are deployments in the path.
        api_version("api_version"): Option<Text> = None;
        /// How the simulated provider behaves.
        sim("sim"): Option<Temper> = None;
    }
}

section! {
    /// One model: a name that clients ask for. The name is part of the section: `[models.smart]`. What stands behind it
    /// is a list of targets.
    pub struct ModelSection {
        /// What the keys are that are left out. `standard`: answers cached for an hour, two minutes in all, attempts of
        /// 30s, three retries, a breaker. The others are the same with the attempt time-out recommended for what they
        /// are named after. Unset: as `standard`, without a cache.
        preset("preset"): Option<Preset> = None;
        /// What it is for.
        serves("serves"): Serves = Serves::Chat;
        /// The whole call, retries and fallbacks included; of a stream the time until its first token. Unset: 120s.
        timeout("timeout"): Option<Duration> = None;
        /// Among targets of one rank: `first` in the order of the file, `weighted` by chance, or `latency`, the one that
        /// is likely to answer soonest.
        choose("choose"): Choose = Choose::First;
        /// Turns the cache on with the numbers recommended for a kind of traffic: `faq` 24h and 1,000 answers,
        /// `product-info` 4h and 5,000, `user-query` 1h and 10,000, `real-time` 5m and 20,000.
        cache_scenario("cache.scenario"): Option<Scenario> = None;
        /// How long an answer is fresh. Turns the cache on; `"0s"` turns it off.
        cache_ttl("cache.ttl"): Option<Duration> = None;
        /// How many answers are kept. Unset: 10,000.
        cache_max_entries("cache.max_entries"): Option<NonZeroU32> = None;
        /// How many bytes of memory the kept answers of this model take together, about. Those above 256KiB are not kept.
        cache_max_bytes("cache.max_bytes"): ByteSize = ByteSize::mib(64);
        /// What makes two requests the same: everything, or texts without their case, punctuation and spacing, which is
        /// good for people's questions and wrong for code and sums.
        cache_key("cache.key"): KeyOf = KeyOf::Exact;
        /// How long past its time an answer is given while a fresh one is fetched.
        cache_stale_while_revalidate("cache.stale_while_revalidate"): Duration = Duration::ZERO;
        /// How long past its time an answer is given when the call fails.
        cache_stale_if_error("cache.stale_if_error"): Duration = Duration::ZERO;
        /// How long an answer is kept that did not come from the first target. Unset: not at all.
        cache_degraded_ttl("cache.degraded_ttl"): Option<Duration> = None;
        /// How long a stream may be silent after its first token.
        stream_idle("stream.idle"): Duration = Duration::from_secs(30);
        /// How long a stream may last.
        stream_total("stream.total"): Duration = Duration::from_secs(600);
        /// When a stream breaks after its first token: it ends with an error, or the next target that can is given what
        /// was said and goes on. Anthropic's models can, and vLLM, llama.cpp, Groq and Mistral.
        stream_on_cut("stream.on_cut"): OnCut = OnCut::Fail;
        /// What becomes of a background answer whose stream was being kept when the server died: told anew, gone on with
        /// (told anew where no target can), or failed.
        background_on_interrupt("background.on_interrupt"): OnInterrupt = OnInterrupt::Restart;
        /// The length of the vectors that a model for embeddings is asked for.
        dimensions("dimensions"): Option<NonZeroU32> = None;
    }
}

section! {
    /// One target of a model: a provider and the model to ask there, with layers of its own. Targets are asked in order
    /// until one answers. A target with `canned` or `otherwise` needs no provider: it is the last resort, and never
    /// fails. Targets are set in the file; they have no variables.
    pub struct TargetSection {
        /// The provider, by its name under `[providers]`.
        provider("provider"): Option<Name> = None;
        /// The model, in the provider's words.
        model("model"): Option<Text> = None;
        /// Its name in records and metrics. Unset: as the model is called.
        name("name"): Option<Text> = None;
        /// Lower ranks are asked first. Unset: with `choose = "first"` its place in the list, else 0.
        rank("rank"): Option<Count> = None;
        /// Its share among equals, with `choose = "weighted"`.
        weight("weight"): Count = Count(1);
        /// One attempt; of a stream until its first token. Unset: the preset's.
        attempt_timeout("attempt_timeout"): Option<Duration> = None;
        /// Attempts after the first: 3 means at most four calls.
        retry_max_retries("retry.max_retries"): Count = Count(3);
        /// The first wait.
        retry_initial("retry.initial"): Duration = Duration::from_secs(1);
        /// The longest wait. A provider that asks for more is not waited for: the next target is asked, and a
        /// background job is parked until then.
        retry_max("retry.max"): Duration = Duration::from_secs(10);
        /// How waits are spread.
        retry_jitter("retry.jitter"): Jitter = Jitter::Full;
        /// So many failures in a row open the breaker. Unset, and without `breaker.rate`: 5.
        breaker_failures("breaker.failures"): Option<NonZeroU32> = None;
        /// Instead of `failures`: this part of the calls within `breaker.window` opens it.
        breaker_rate("breaker.rate"): Option<Share> = None;
        /// Over which time the rate is taken.
        breaker_window("breaker.window"): Duration = Duration::from_secs(30);
        /// Fewer calls than this make no rate.
        breaker_min_calls("breaker.min_calls"): NonZeroU32 = nonzero(20);
        /// How long it stays open before a probe.
        breaker_open_for("breaker.open_for"): Duration = Duration::from_secs(60);
        /// So many successful probes close it.
        breaker_successes("breaker.successes"): NonZeroU32 = nonzero(2);
        /// Probes at once.
        breaker_probes("breaker.probes"): NonZeroU32 = nonzero(1);
        /// Requests per minute.
        limit_rpm("limit.rpm"): Option<NonZeroU32> = None;
        /// Tokens per minute, of requests and answers together.
        limit_tpm("limit.tpm"): Option<NonZeroU32> = None;
        /// Calls at once.
        limit_concurrency("limit.concurrency"): Option<NonZeroU32> = None;
        /// What a million tokens of the request cost, in US dollars.
        price_input("price.input_per_mtok"): Option<Dollars> = None;
        /// What a million tokens of the answer cost, in US dollars.
        price_output("price.output_per_mtok"): Option<Dollars> = None;
        /// What a million tokens cost that the provider reads from its own cache. Unset: as the rest of the request.
        price_cached_input("price.cached_input_per_mtok"): Option<Dollars> = None;
        /// What a million tokens cost that the provider writes to its own cache. Unset: as the rest of the request.
        price_cache_write("price.cache_write_per_mtok"): Option<Dollars> = None;
        /// Replies of the last resort: the first is given one of whose words the person's last message contains.
        canned("canned"): Replies = Replies::default();
        /// The reply of the last resort when no other fits.
        otherwise("otherwise"): Option<Text> = None;
    }
}
