//! One configuration, made real; and what goes over from the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use longhaul_resilience::Dice;

use super::GatewayOptions;
use crate::model::{ConfiguredModel, ModelCache, ModelState};
use crate::provider::{BadProvider, Provider};
use crate::settings::{GatewaySettings, ModelSettings, ProviderSettings, TargetSettings};
use crate::target::{Target, TargetKey, TargetState};

/// Everything that the settings made.
pub(super) struct Snapshot {
    pub(super) settings: GatewaySettings,
    pub(super) providers: BTreeMap<String, Arc<Provider>>,
    pub(super) models: BTreeMap<String, Arc<ConfiguredModel>>,
    states: BTreeMap<TargetKey, Arc<TargetState>>,
    model_states: BTreeMap<String, Arc<ModelState>>,
}

/// What is wrong with settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadGateway(pub Vec<String>);

impl fmt::Display for BadGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for BadGateway {}

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Models that are new.
    pub added: Vec<String>,
    /// Models that are gone.
    pub removed: Vec<String>,
    /// Models whose settings, or whose providers', are others.
    pub changed: Vec<String>,
}

impl Reloaded {
    /// Whether everything is as it was.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Snapshot {
    pub(super) fn new(
        settings: GatewaySettings,
        options: &GatewayOptions,
        before: Option<&Self>,
    ) -> Result<Self, BadGateway> {
        let mut problems = Vec::new();
        let mut providers = BTreeMap::new();
        for (name, wanted) in &settings.providers {
            let kept = before.and_then(|before| before.providers.get(name)).filter(|old| old.settings == *wanted);
            let provider = match kept {
                // The same connections go on.
                Some(old) => Ok(Arc::clone(old)),
                None => Provider::new(name, wanted.clone(), &options.tracker),
            };
            match provider {
                Ok(provider) => drop(providers.insert(name.clone(), provider)),
                Err(error @ BadProvider { .. }) => problems.push(error.to_string()),
            }
        }
        for (name, model) in &settings.models {
            problems.extend(wrong_with(name, model, &settings));
        }
        if !problems.is_empty() {
            return Err(BadGateway(problems));
        }
        let shares = shares(&settings);
        let seeds = options.seed.map_or_else(Dice::unpredictable, Dice::seeded);
        let mut snapshot = Self {
            settings: GatewaySettings::default(),
            providers,
            models: BTreeMap::new(),
            states: BTreeMap::new(),
            model_states: BTreeMap::new(),
        };
        for (name, model) in &settings.models {
            snapshot.add_model(name, model, options, before, (&shares, &seeds));
        }
        snapshot.settings = settings;
        Ok(snapshot)
    }

    fn add_model(
        &mut self,
        name: &str,
        settings: &ModelSettings,
        options: &GatewayOptions,
        before: Option<&Self>,
        (shares, seeds): (&BTreeMap<&str, u32>, &Dice),
    ) {
        let own: Arc<str> = name.into();
        let mut targets = Vec::with_capacity(settings.targets.len());
        for target in &settings.targets {
            // Longer than the whole call no attempt can take: against this it is judged whether one had its time.
            let target =
                &TargetSettings { attempt_timeout: target.attempt_timeout.min(settings.timeout), ..target.clone() };
            let Some(provider) = self.providers.get(&target.provider) else { continue };
            let key = TargetKey::of(name, target);
            let kept = before.and_then(|before| before.states.get(&key));
            let state = kept.map_or_else(|| Arc::new(TargetState::new(target, options.clock())), Arc::clone);
            self.states.insert(key, Arc::clone(&state));
            let (provider, seed) = (Arc::clone(provider), seeds.next_u64());
            let share = shares.get(target.provider.as_str()).copied();
            targets.push(Target::new(&own, target.clone(), settings.stream, provider, state, share, seed));
        }
        let state = Arc::new(model_state(name, settings, options, before));
        self.model_states.insert(name.to_owned(), Arc::clone(&state));
        let model = ConfiguredModel::new(own, settings.clone(), targets, state, seeds.next_u64());
        self.models.insert(name.to_owned(), Arc::new(model));
    }

    pub(super) fn compared_with(&self, before: &Self) -> Reloaded {
        let names = |snapshot: &Self| snapshot.models.keys().cloned().collect::<BTreeSet<_>>();
        let (old, new) = (names(before), names(self));
        let provider_changed = |name: &String| before.settings.providers.get(name) != self.settings.providers.get(name);
        let is_changed = |name: &&String| {
            let (old, new) = (&before.settings.models[*name], &self.settings.models[*name]);
            old != new || new.targets.iter().any(|target| provider_changed(&target.provider))
        };
        Reloaded {
            added: new.difference(&old).cloned().collect(),
            removed: old.difference(&new).cloned().collect(),
            changed: new.intersection(&old).filter(is_changed).cloned().collect(),
        }
    }
}

/// How many connections of each provider one target may use at once. Where several targets share a provider none may
/// use more than three quarters, so that one that hangs leaves room for the others.
fn shares(settings: &GatewaySettings) -> BTreeMap<&str, u32> {
    let targets = || settings.models.values().flat_map(|model| &model.targets);
    let share = |(name, provider): (&'_ String, &ProviderSettings)| {
        let all = provider.pool.max_connections.max(1);
        let is_shared = targets().filter(|target| target.provider == *name).take(2).count() > 1;
        let share = if is_shared { (all / 4 * 3 + all % 4 * 3 / 4).max(1) } else { all };
        u32::try_from(share).unwrap_or(u32::MAX)
    };
    let remote = settings.providers.iter().filter(|(_, provider)| provider.wire.is_remote());
    remote.map(|(name, provider)| (name.as_str(), share((name, provider)))).collect()
}

/// The cache and the meters of a model, from before where there are any.
fn model_state(
    name: &str,
    settings: &ModelSettings,
    options: &GatewayOptions,
    before: Option<&Snapshot>,
) -> ModelState {
    let kept = before.and_then(|before| before.model_states.get(name));
    let meter = kept.map(|state| Arc::clone(&state.meter)).unwrap_or_default();
    let cache = settings.cache.map(|wanted| {
        let old = kept.and_then(|state| state.cache.as_ref());
        old.and_then(|old| old.reloaded(wanted)).unwrap_or_else(|| ModelCache::new(wanted, &options.tracker))
    });
    ModelState { cache, meter, observer: options.observer.clone() }
}

/// What no single setting can know.
fn wrong_with(name: &str, model: &ModelSettings, settings: &GatewaySettings) -> Vec<String> {
    let mut problems = Vec::new();
    let mut wrong = |message: String| problems.push(format!("model `{name}` {message}"));
    if model.targets.is_empty() && model.canned.is_none() {
        wrong("has no targets".to_owned());
    }
    if model.timeout.is_zero() {
        wrong("has a timeout of zero, which would refuse every call".to_owned());
    }
    let mut names = BTreeSet::new();
    for target in &model.targets {
        if !names.insert(target.name.as_str()) {
            wrong(format!("has two targets called `{}`", target.name));
        }
        if !settings.providers.contains_key(&target.provider) {
            let near = crate::nearest(&target.provider, settings.providers.keys().map(String::as_str));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            wrong(format!("has a target at the provider `{}`, which is not configured{hint}", target.provider));
        }
        if target.attempt_timeout.is_zero() {
            wrong(format!("has a target, `{}`, whose attempts may take no time", target.name));
        }
    }
    problems
}
