//! `[providers]` and `[models]` put together: what was left out is filled in, and the whole is checked.
//!
//! The result is in the gateway's own words, and complete: nothing further in knows of presets or defaults.

use std::collections::BTreeMap;

use longhaul_gateway::settings::{
    Access, BreakerSettings, CacheSettings, Canned, Choose, Flavor, LimitSettings, ModelSettings, Preset, Price,
    ProviderSettings, RetrySettings, Scenario, Secret as ProviderSecret, Serves, StreamSettings, TargetSettings, Trip,
    Wire,
};
use longhaul_gateway::{GatewaySettings, LOCAL_MODEL, PoolSettings};

use super::model_values::{Count, HeaderText};
use super::models::{ModelSection, ProviderSection, TargetSection};
use super::problem::{Place, Problem, nearest};
use super::reader::{Reader, SectionPath};

/// The simulated model, which is there without being configured.
const SIM: &str = "sim";

/// The models that are there without being configured.
pub const BUILT_IN_MODELS: [&str; 2] = [LOCAL_MODEL, SIM];

/// What the file says of providers and models.
pub(super) struct Sections {
    pub(super) providers: BTreeMap<String, ProviderSection>,
    /// Each with its targets in order.
    pub(super) models: BTreeMap<String, (ModelSection, Vec<TargetSection>)>,
}

/// Makes the gateway's settings. What is wrong goes to the reader, and is left out.
pub(super) fn assemble(sections: &Sections, reader: &mut Reader<'_>) -> GatewaySettings {
    let mut settings = GatewaySettings::default();
    for (name, section) in &sections.providers {
        match provider(name, section) {
            Ok(provider) => drop(settings.providers.insert(name.clone(), provider)),
            Err(message) => report(reader, &format!("providers.{name}"), format!("[providers.{name}] {message}")),
        }
    }
    for wire in [Wire::Local, Wire::Sim] {
        settings.providers.entry(wire.name().to_owned()).or_insert_with(|| ProviderSettings::new(wire));
    }
    for (name, (section, targets)) in &sections.models {
        let mut builder = Builder { name, section, settings: &settings, reader };
        if let Some(model) = builder.model(targets) {
            settings.models.insert(name.clone(), model);
        }
    }
    settings.models.entry(SIM.to_owned()).or_insert_with(|| {
        let target = TargetSettings::of(Preset::Standard, SIM, "sim-small");
        ModelSettings::of(Preset::Standard, vec![target])
    });
    // The built-in model has no language; its vectors can be had over every API that has them.
    let target = TargetSettings::of(Preset::Standard, LOCAL_MODEL, LOCAL_MODEL);
    let local = ModelSettings { serves: Serves::Embeddings, ..ModelSettings::of(Preset::Standard, vec![target]) };
    settings.models.insert(LOCAL_MODEL.to_owned(), local);
    settings
}

fn provider(name: &str, section: &ProviderSection) -> Result<ProviderSettings, String> {
    let wire = match section.protocol.or_else(|| Wire::from_name(name)) {
        Some(wire) => wire,
        None => return Err("needs a `protocol`; most providers speak `openai`".to_owned()),
    };
    if !wire.is_remote() && (section.base_url.is_some() || section.api_key.is_some()) {
        return Err(format!(
            "is `{}`, which is called over no network: it has no `base_url` and no `api_key`",
            wire.name()
        ));
    }
    if section.sim.is_some() && wire != Wire::Sim {
        return Err(format!("has `sim`, which is for the protocol `sim` and not for `{}`", wire.name()));
    }
    let flavored = wire == Wire::OpenAi || (wire == Wire::Responses && section.flavor == Some(Flavor::Azure));
    if section.flavor.is_some() && !flavored {
        return Err(format!("has a `flavor`, which is for the protocol `openai` and not for `{}`", wire.name()));
    }
    // OpenAI's own address is OpenAI; anything else that speaks its protocol is taken for what most of them are.
    let own = section.base_url.as_ref().is_none_or(|url| url.to_string().starts_with("https://api.openai.com/"));
    let flavor = section.flavor.unwrap_or(if own { Flavor::OpenAi } else { Flavor::Compatible });
    let mut headers = Vec::new();
    for (name, text) in &section.headers.0 {
        let (text, secret) = match text {
            HeaderText::Plain(text) => (text.as_str(), false),
            HeaderText::Secret(secret) => (secret.expose(), true),
        };
        let header = name.parse().map_err(|_| format!("has a header `{name}`, which is no name of a header"))?;
        let mut value: http::HeaderValue =
            text.parse().map_err(|_| format!("has a header `{name}` whose text no header can hold"))?;
        value.set_sensitive(secret);
        headers.push((header, value));
    }
    let extra_roots = match &section.ca {
        None => None,
        Some(path) => {
            let pem = std::fs::read(path).map_err(|error| format!("has `ca` = {}: {error}", path.display()))?;
            Some(pem.into())
        }
    };
    Ok(ProviderSettings {
        flavor,
        base_url: section.base_url.clone(),
        access: Access {
            api_key: section.api_key.as_ref().map(|key| ProviderSecret::new(key.expose())),
            headers,
            ignore: section.ignore.iter().map(|field| field.0.clone()).collect(),
        },
        pool: PoolSettings {
            max_connections: section.max_connections.get() as usize,
            connect_timeout: section.connect_timeout,
            idle_timeout: section.idle_timeout,
            max_answer_bytes: usize::try_from(section.max_answer.bytes()).unwrap_or(usize::MAX),
            extra_roots,
        },
        api_version: section.api_version.as_ref().map(|version| version.0.clone()),
        sim: section.sim.as_ref().map(|temper| temper.settings.clone()).unwrap_or_default(),
        ..ProviderSettings::new(wire)
    })
}

/// The keys of a cache that turn none on.
const CACHE_KEYS: [&str; 6] = [
    "cache.max_entries",
    "cache.max_bytes",
    "cache.key",
    "cache.stale_while_revalidate",
    "cache.stale_if_error",
    "cache.degraded_ttl",
];

/// One model under construction.
struct Builder<'a, 't> {
    name: &'a str,
    section: &'a ModelSection,
    settings: &'a GatewaySettings,
    reader: &'a mut Reader<'t>,
}

impl Builder<'_, '_> {
    fn model(&mut self, targets: &[TargetSection]) -> Option<ModelSettings> {
        let (name, section) = (self.name, self.section);
        let before = self.reader.problems.len();
        if name == LOCAL_MODEL {
            self.wrong("", format!("[models.{LOCAL_MODEL}] cannot be set: that model is built in"));
        }
        let preset = section.preset.unwrap_or_default();
        let mut model = ModelSettings::of(preset, Vec::new());
        model.serves = section.serves;
        model.timeout = section.timeout.unwrap_or(preset.timeout());
        model.cache = self.cache();
        model.choose = section.choose;
        model.stream =
            StreamSettings { idle: section.stream_idle, total: section.stream_total, on_cut: section.stream_on_cut };
        model.on_interrupt = section.background_on_interrupt;
        model.dimensions = section.dimensions.map(|length| length.get() as usize);
        for (key, duration) in
            [("timeout", model.timeout), ("stream.idle", model.stream.idle), ("stream.total", model.stream.total)]
        {
            if duration.is_zero() {
                self.wrong(key, format!("`models.{name}.{key}` must be longer than zero"));
            }
        }
        for (index, target) in targets.iter().enumerate() {
            let is_last = index + 1 == targets.len();
            if target.otherwise.is_some() || !target.canned.0.is_empty() {
                model.canned = self.canned(index, target, is_last);
            } else if let Some(target) = self.target(index, target, preset) {
                model.targets.push(target);
            }
        }
        if targets.is_empty() {
            let help =
                format!("add one: targets = [{{ provider = \"…\", model = \"…\" }}] or [[models.{name}.targets]]");
            self.wrong_with_help("", format!("[models.{name}] has no targets"), help);
        }
        unique_names(&mut model.targets);
        (self.reader.problems.len() == before).then_some(model)
    }

    fn cache(&mut self) -> Option<CacheSettings> {
        let section = self.section;
        let wanted = section.cache_scenario.is_some() || section.cache_ttl.is_some() || section.preset.is_some();
        if !wanted && let Some(key) = self.said(&CACHE_KEYS) {
            let message =
                format!("[models.{}] says how to cache and not for how long, so nothing is cached", self.name);
            self.wrong_with_help(key, message, "add cache.ttl = \"1h\"".to_owned());
        }
        if !wanted || section.cache_ttl.is_some_and(|ttl| ttl.is_zero()) {
            return None;
        }
        let base = CacheSettings::of(section.cache_scenario.unwrap_or(Scenario::UserQuery));
        Some(CacheSettings {
            ttl: section.cache_ttl.unwrap_or(base.ttl),
            max_entries: section.cache_max_entries.map_or(base.max_entries, |entries| entries.get() as usize),
            max_bytes: usize::try_from(section.cache_max_bytes.bytes()).unwrap_or(usize::MAX),
            key: section.cache_key,
            stale_while_revalidate: section.cache_stale_while_revalidate,
            stale_if_error: section.cache_stale_if_error,
            degraded_ttl: section.cache_degraded_ttl,
        })
    }

    fn canned(&mut self, index: usize, target: &TargetSection, is_last: bool) -> Option<Canned> {
        if target.provider.is_some() || target.model.is_some() {
            self.wrong_target(index, "has canned replies and a provider; it is one or the other".to_owned());
        }
        if !is_last {
            self.wrong_target(index, "has canned replies, which never fail: nothing after it is ever asked".to_owned());
        }
        Some(Canned { rules: target.canned.0.clone(), otherwise: target.otherwise.as_ref().map(|text| text.0.clone()) })
    }

    fn target(&mut self, index: usize, section: &TargetSection, preset: Preset) -> Option<TargetSettings> {
        let Some(provider) = &section.provider else {
            self.wrong_target(index, "names no `provider`".to_owned());
            return None;
        };
        let provider = provider.as_str();
        if !self.settings.providers.contains_key(provider) {
            let near = nearest(provider, self.settings.providers.keys().map(String::as_str));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            self.wrong_target(index, format!("names the provider `{provider}`, which is not configured{hint}"));
            return None;
        }
        let Some(model) = &section.model else {
            self.wrong_target(index, format!("names no `model` for the provider `{provider}` to be asked for"));
            return None;
        };
        if section.breaker_failures.is_some() && section.breaker_rate.is_some() {
            self.wrong_target(index, "has `breaker.failures` and `breaker.rate`; keep one of the two".to_owned());
        }
        let attempt_timeout = section.attempt_timeout.unwrap_or(preset.attempt_timeout());
        for (key, duration) in [("attempt_timeout", attempt_timeout), ("breaker.open_for", section.breaker_open_for)] {
            if duration.is_zero() {
                self.wrong_target(index, format!("has `{key}` of zero"));
            }
        }
        let in_order = match self.section.choose {
            Choose::First => u32::try_from(index).unwrap_or(u32::MAX),
            Choose::Weighted | Choose::Latency => 0,
        };
        Some(TargetSettings {
            name: section.name.as_ref().map_or_else(|| model.0.clone(), |name| name.0.clone()),
            rank: section.rank.map_or(in_order, |Count(rank)| rank),
            weight: section.weight.0,
            attempt_timeout,
            retry: RetrySettings {
                max_retries: section.retry_max_retries.0,
                initial: section.retry_initial,
                max: section.retry_max,
                jitter: section.retry_jitter,
            },
            breaker: BreakerSettings {
                trip: match section.breaker_rate {
                    None => Trip::Consecutive(section.breaker_failures.map_or(5, std::num::NonZeroU32::get)),
                    Some(rate) => Trip::Rate {
                        rate: rate.0,
                        window: section.breaker_window,
                        min_calls: section.breaker_min_calls.get(),
                    },
                },
                open_for: section.breaker_open_for,
                successes: section.breaker_successes.get(),
                probes: section.breaker_probes.get(),
            },
            limit: LimitSettings {
                rpm: section.limit_rpm.map(|rate| u64::from(rate.get())),
                tpm: section.limit_tpm.map(|rate| u64::from(rate.get())),
                concurrency: section.limit_concurrency.map(std::num::NonZeroU32::get),
            },
            price: price(section),
            ..TargetSettings::of(preset, provider, model.0.clone())
        })
    }

    /// The first of these keys that somebody has set.
    fn said(&self, keys: &[&'static str]) -> Option<&'static str> {
        keys.iter().copied().find(|key| self.reader.place_of(&self.key(key)) != Place::Default)
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", SectionPath::named("models", self.name))
    }

    fn wrong(&mut self, key: &str, message: String) {
        let key = self.key(key);
        report(self.reader, &key, message);
    }

    fn wrong_with_help(&mut self, key: &str, message: String, help: String) {
        self.wrong(key, message);
        if let Some(problem) = self.reader.problems.last_mut() {
            problem.help = Some(help);
        }
    }

    fn wrong_target(&mut self, index: usize, message: String) {
        let place = format!("models.{}.targets[{index}]", self.name);
        report(self.reader, &place, format!("target {} of [models.{}] {message}", index + 1, self.name));
    }
}

fn price(section: &TargetSection) -> Option<Price> {
    let [input, output, cached, written] =
        [section.price_input, section.price_output, section.price_cached_input, section.price_cache_write]
            .map(|price| price.map(|price| price.0));
    input.or(output).or(cached).or(written)?;
    Some(Price {
        input_per_mtok: input.unwrap_or(0.0),
        output_per_mtok: output.unwrap_or(0.0),
        cached_input_per_mtok: cached,
        cache_write_per_mtok: written,
    })
}

/// Two targets that are called alike are told apart by their providers, or by their places.
fn unique_names(targets: &mut [TargetSettings]) {
    for index in 1..targets.len() {
        let (before, rest) = targets.split_at_mut(index);
        let target = &mut rest[0];
        let taken = |name: &str| before.iter().any(|other| other.name == name);
        if taken(&target.name) {
            target.name = format!("{}@{}", target.name, target.provider);
        }
        if taken(&target.name) {
            target.name = format!("{}#{}", target.name, index + 1);
        }
    }
}

/// At the key, or at whatever of the section was said.
fn report(reader: &mut Reader<'_>, key: &str, message: String) {
    let place = match reader.place_of(key) {
        Place::Default => reader.place_within(key),
        place => place,
    };
    reader.problems.push(Problem { place, message, help: None });
}
