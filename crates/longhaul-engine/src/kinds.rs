//! Which kinds there are, and what an input of each must look like.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use longhaul_core::{KindName, KindSpec, Limit, Tenant};

use crate::{Executor, NamedKind};

/// A field that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) to it.
    pub pointer: String,
    /// What is wrong, in a sentence.
    pub message: String,
}

/// Judges inputs.
pub trait Check: Send + Sync {
    /// What is wrong with this JSON text; nothing, when it may be accepted. Pointers begin at the input itself.
    fn check(&self, input: &str) -> Vec<FieldError>;
}

/// Turns JSON Schemas into checks. Whoever knows how hands one to the engine.
pub trait SchemaCompiler: Send + Sync + 'static {
    /// A check for `schema`, or why it is no schema.
    fn compile(&self, schema: &serde_json::Value) -> Result<Arc<dyn Check>, String>;
}

/// A kind as clients see it.
#[derive(Debug, Clone, PartialEq)]
pub struct KindInfo {
    /// What is known of it.
    pub spec: KindSpec,
    /// Whether the server runs it itself.
    pub built_in: bool,
}

/// A kind as a submit meets it.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) spec: Arc<KindSpec>,
    check: Option<CheckBy>,
    output: Option<Arc<dyn Check>>,
}

#[derive(Clone)]
enum CheckBy {
    Executor(Arc<dyn Executor>),
    Schema(Arc<dyn Check>),
}

impl Known {
    pub(crate) fn check(&self, input: &str) -> Vec<FieldError> {
        match &self.check {
            Some(CheckBy::Executor(executor)) => executor.check().map(|check| check.check(input)).unwrap_or_default(),
            Some(CheckBy::Schema(check)) => check.check(input),
            None => Vec::new(),
        }
    }

    /// Other kinds that an input names.
    pub(crate) fn kinds_named(&self, input: &str) -> Vec<NamedKind> {
        match &self.check {
            Some(CheckBy::Executor(executor)) => executor.kinds_named(input),
            Some(CheckBy::Schema(_)) | None => Vec::new(),
        }
    }

    /// What is wrong with an output by the registered schema.
    pub(crate) fn check_output(&self, output: &str) -> Vec<FieldError> {
        self.output.as_ref().map(|check| check.check(output)).unwrap_or_default()
    }
}

/// How many kinds a tenant can register: each holds a compiled schema in memory.
const KINDS_MOST: usize = 1_000;

/// All kinds: the built-in ones, and those that tenants have registered.
pub(crate) struct Kinds {
    built_in: BTreeMap<KindName, (Arc<dyn Executor>, Arc<KindSpec>)>,
    registered: RwLock<Registered>,
    compiler: Arc<dyn SchemaCompiler>,
}

/// What tenants have registered, as it is known here.
#[derive(Default)]
struct Registered {
    known: HashMap<Tenant, BTreeMap<KindName, Known>>,
    /// Stored kinds that cannot be used by this server.
    left_out: HashSet<(Tenant, KindName)>,
    /// How often this server itself has registered one.
    changes: u64,
}

impl Kinds {
    pub(crate) fn new(executors: Vec<Arc<dyn Executor>>, compiler: Arc<dyn SchemaCompiler>) -> Self {
        let built_in = executors.into_iter().map(|executor| {
            let spec = Arc::new(executor.kind().clone());
            (spec.name.clone(), (executor, spec))
        });
        Self { built_in: built_in.collect(), registered: RwLock::default(), compiler }
    }

    /// Changes how a built-in kind is run unless a submit says otherwise.
    pub(crate) fn override_spec(&mut self, kind: &KindName, change: impl FnOnce(&mut KindSpec)) -> bool {
        let Some((_, spec)) = self.built_in.get_mut(kind) else { return false };
        change(Arc::make_mut(spec));
        true
    }

    pub(crate) fn executor(&self, kind: &KindName) -> Option<&Arc<dyn Executor>> {
        self.built_in.get(kind).map(|(executor, _)| executor)
    }

    pub(crate) fn built_in(&self) -> Arc<[KindName]> {
        self.built_in.keys().cloned().collect()
    }

    /// The built-in kinds that are limited.
    pub(crate) fn built_in_limits(&self) -> Vec<(KindName, Vec<Limit>)> {
        let limited = self.built_in.iter().filter(|(_, (_, spec))| !spec.limits.is_empty());
        limited.map(|(name, (_, spec))| (name.clone(), spec.limits.clone())).collect()
    }

    /// Checks what a tenant wants to register; nothing is known of it yet.
    pub(crate) fn prepare(&self, tenant: &Tenant, spec: KindSpec) -> Result<Known, String> {
        {
            let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner);
            let own = registered.known.get(tenant);
            let is_new = own.is_none_or(|own| !own.contains_key(&spec.name));
            if is_new && own.is_some_and(|own| own.len() >= KINDS_MOST) {
                return Err(format!("a tenant can register at most {KINDS_MOST} kinds"));
            }
        }
        self.compiled(spec)
    }

    fn compiled(&self, spec: KindSpec) -> Result<Known, String> {
        if self.built_in.contains_key(&spec.name) {
            return Err(format!("the kind {} is built in and cannot be registered", spec.name));
        }
        let output = match &spec.output_schema {
            Some(schema) => Some(self.compiler.compile(schema).map_err(|why| format!("output_schema {why}"))?),
            None => None,
        };
        let check = match &spec.input_schema {
            Some(schema) => {
                let check = self.compiler.compile(schema).map_err(|why| format!("input_schema {why}"))?;
                Some(CheckBy::Schema(check))
            }
            None => None,
        };
        Ok(Known { spec: Arc::new(spec), check, output })
    }

    /// From now on the kind can be submitted.
    pub(crate) fn register(&self, tenant: &Tenant, known: Known) {
        let mut registered = self.registered.write().unwrap_or_else(PoisonError::into_inner);
        registered.known.entry(tenant.clone()).or_default().insert(known.spec.name.clone(), known);
        registered.changes += 1;
    }

    /// How often this server has registered a kind itself.
    pub(crate) fn changes(&self) -> u64 {
        self.registered.read().unwrap_or_else(PoisonError::into_inner).changes
    }

    /// From now on those kinds can be submitted that are stored, and no others. What cannot be used is left out. False:
    /// this server has registered one since there were `changes`, so that what was read may be old; nothing is changed.
    pub(crate) fn replace(&self, stored: Vec<(Tenant, KindSpec)>, changes: u64) -> bool {
        let mut all = Registered { changes, ..Registered::default() };
        for (tenant, spec) in stored {
            let name = spec.name.clone();
            let (same, is_known_bad) = {
                let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner);
                let known = registered.known.get(&tenant).and_then(|own| own.get(&name));
                let same = known.filter(|known| *known.spec == spec).cloned();
                (same, registered.left_out.contains(&(tenant.clone(), name.clone())))
            };
            match same.map_or_else(|| self.compiled(spec), Ok) {
                Ok(known) => drop(all.known.entry(tenant).or_default().insert(name, known)),
                Err(why) => {
                    if !is_known_bad {
                        tracing::warn!(%tenant, kind = %name, why, "a registered kind is left out");
                    }
                    all.left_out.insert((tenant, name));
                }
            }
        }
        let mut registered = self.registered.write().unwrap_or_else(PoisonError::into_inner);
        let is_current = registered.changes == changes;
        if is_current {
            *registered = all;
        }
        is_current
    }

    pub(crate) fn find(&self, tenant: &Tenant, kind: &str) -> Option<Known> {
        let name = KindName::new(kind).ok()?;
        if let Some((executor, spec)) = self.built_in.get(&name) {
            let check = executor.check().is_some().then(|| CheckBy::Executor(executor.clone()));
            return Some(Known { spec: spec.clone(), check, output: None });
        }
        let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner);
        registered.known.get(tenant)?.get(&name).cloned()
    }

    /// A check by a schema that is no kind's, or why it is no schema.
    pub(crate) fn compile(&self, schema: &serde_json::Value) -> Result<Arc<dyn Check>, String> {
        self.compiler.compile(schema)
    }

    /// Whether any kind of the tenant was registered with a schema of its outputs.
    pub(crate) fn checks_outputs(&self, tenant: &Tenant) -> bool {
        let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner);
        registered.known.get(tenant).is_some_and(|own| own.values().any(|known| known.output.is_some()))
    }

    /// What a tenant can submit, built-in kinds first, each part in the order of its names.
    pub(crate) fn list(&self, tenant: &Tenant) -> Vec<KindInfo> {
        let built_in = self.built_in.values().map(|(_, spec)| KindInfo { spec: (**spec).clone(), built_in: true });
        let mut all: Vec<KindInfo> = built_in.collect();
        let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner);
        let own = registered.known.get(tenant).into_iter().flat_map(BTreeMap::values);
        all.extend(own.map(|known| KindInfo { spec: (*known.spec).clone(), built_in: false }));
        all
    }
}
