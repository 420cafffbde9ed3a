//! Who asks, and what they may.
//!
//! A key is `lh_<id>_<secret>`. The id finds the record, the secret is compared as a SHA-256, in constant time: it is
//! random and long, so that a slow hash would protect nothing and cost every request. The tenant comes from the record
//! and from nowhere else.
//!
//! Handlers cannot forget to ask: they name what they need in their signature ([`Read`], [`Write`], [`Admin`]), and
//! there is no other way to come by a caller.

use std::collections::HashMap;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use longhaul_core::{ApiKey, Caller, IdSource, KeyId, Scope, Tenant, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    app::App,
    key_ring::Keys,
    problem::{Code, Problem},
    session,
};

pub use crate::key_ring::KeyRing;

/// The shortest secret that is taken from the outside, in characters.
const SECRET_LEAST: usize = 32;

impl KeyRing {
    fn identify(&self, parts: &Parts, origins: &[String], now: Timestamp) -> Result<Caller, Problem> {
        let keys = self.keys();
        let headers = &parts.headers;
        if keys.is_empty() {
            refuse_foreign_page(parts, origins)?;
            return Ok(Caller::unkeyed());
        }
        let Some(shown) = shown(headers) else {
            return match session::shown(headers) {
                Some(shown) => self.of_session(&keys, &shown, parts, now),
                None => Err(unauthorized("Send an API key: `Authorization: Bearer lh_…`, or `x-api-key: lh_…`.")),
            };
        };
        let key = known(&keys, shown, now)?;
        Ok(caller(key))
    }

    /// Whether a request shows a key, or a session of one, that is not known here.
    fn is_unknown(&self, headers: &HeaderMap) -> bool {
        let id = match shown(headers) {
            Some(shown) => ShownKey::parse(shown.trim()).ok().map(|shown| shown.id),
            None => session::shown(headers).map(|shown| shown.key),
        };
        id.is_some_and(|id| !self.keys().contains_key(&id))
    }

    /// Whether what a connection was opened with still lets it in.
    fn still_holds(&self, standing: &Standing, now: Timestamp) -> bool {
        match standing.key {
            // It was let in because nobody had a key.
            None => self.is_empty(),
            Some(id) => {
                self.keys().get(&id).is_some_and(|key| key.is_valid(now))
                    && standing.until.is_none_or(|until| now < until)
            }
        }
    }

    fn of_session(
        &self,
        keys: &HashMap<KeyId, ApiKey>,
        shown: &session::Shown<'_>,
        parts: &Parts,
        now: Timestamp,
    ) -> Result<Caller, Problem> {
        let key = keys.get(&shown.key).filter(|key| key.is_valid(now) && shown.is_of(key, now));
        let key = key.ok_or_else(|| unauthorized("The session is over: sign in again."))?;
        if !session::comes_from_here(parts) {
            return Err(Problem::new(Code::Forbidden, "A session counts only for pages of this server."));
        }
        Ok(caller(key))
    }
}

/// One sentence for unknown, wrong, revoked and expired alike: which of them it is, is nobody's business.
fn known<'k>(keys: &'k HashMap<KeyId, ApiKey>, shown: &str, now: Timestamp) -> Result<&'k ApiKey, Problem> {
    let refused = || unauthorized("The API key is unknown, revoked or expired.");
    let shown = ShownKey::parse(shown.trim()).map_err(|_| refused())?;
    let key = keys.get(&shown.id).ok_or_else(refused)?;
    let is_right: bool = key.secret_hash.ct_eq(&shown.secret_hash).into();
    if is_right && key.is_valid(now) { Ok(key) } else { Err(refused()) }
}

/// What a connection that stays open rests on. It was let in once; whether it may stay is asked again and again, because
/// a key can be revoked and a session ends.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// None: it was let in because there was no key.
    key: Option<KeyId>,
    /// The end of the session that was shown instead of the key.
    until: Option<Timestamp>,
}

fn caller(key: &ApiKey) -> Caller {
    Caller { tenant: key.tenant.clone(), scopes: key.scopes.clone().into(), key: Some(key.id) }
}

impl App {
    /// Who asks. A key that is not known here may have been made at another server a moment ago.
    async fn identify(&self, parts: &Parts) -> Result<Caller, Problem> {
        let (keys, origins) = (&self.0.keys, &self.0.origins);
        let identified = keys.identify(parts, origins, self.engine().clock().now());
        if identified.is_ok() || !keys.is_unknown(&parts.headers) || !keys.look(self.engine()).await {
            return identified;
        }
        keys.identify(parts, origins, self.engine().clock().now())
    }

    /// The key that this text is, when it is one and holds.
    pub(crate) async fn find_key(&self, shown: &str) -> Result<ApiKey, Problem> {
        let keys = &self.0.keys;
        let find = |keys: &Keys| known(keys, shown, self.engine().clock().now()).cloned();
        let is_unknown = ShownKey::parse(shown.trim()).is_ok_and(|shown| !keys.keys().contains_key(&shown.id));
        if is_unknown {
            keys.look(self.engine()).await;
        }
        find(&keys.keys())
    }

    /// What lets `caller` in, who made this request.
    pub(crate) fn standing(&self, headers: &HeaderMap, caller: &Caller) -> Standing {
        // As in `KeyRing::identify`: a session counts where no key is shown.
        let session = if shown(headers).is_none() { session::shown(headers) } else { None };
        Standing { key: caller.key, until: session.map(|session| session.until) }
    }

    /// Refuses what somebody waited for who would not be let in any more.
    pub(crate) fn let_in_still(&self, standing: &Standing) -> Result<(), Problem> {
        match self.still_holds(standing) {
            true => Ok(()),
            false => Err(unauthorized("The key or the session that this was asked with does not hold any more.")),
        }
    }

    /// Whether what somebody was let in with would still let them in.
    pub(crate) fn still_holds(&self, standing: &Standing) -> bool {
        self.0.keys.still_holds(standing, self.engine().clock().now())
    }

    /// Refuses a page of another origin, unless `server.cors` lets it in. Browsers let any page open a WebSocket to
    /// anywhere; the server alone can say no.
    pub(crate) fn check_origin(&self, parts: &Parts) -> Result<(), Problem> {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let Some(origin) = header("origin") else { return Ok(()) };
        let host = header("host").or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
        let is_own = origin.split_once("://").is_some_and(|(_, theirs)| Some(theirs) == host);
        let is_allowed = self.0.origins.iter().any(|allowed| allowed == origin || allowed == "*");
        if is_own || is_allowed {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, "Pages of this origin may not connect; see `server.cors`."))
    }
}

/// What proxies add to what they pass on.
const FORWARDED: [&str; 7] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "cf-connecting-ip", "via"];

/// Without keys the address is the only lock, and a browser on this machine is inside it. So a page of another site may
/// not ask (cross-site request forgery), nor one that made its own name point here (DNS rebinding).
fn refuse_foreign_page(parts: &Parts, origins: &[String]) -> Result<(), Problem> {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if FORWARDED.iter().any(|name| parts.headers.contains_key(*name)) {
        let detail = "No API key exists, so only this machine is answered, and this request was passed on by a proxy: for whom, \
                      nobody can tell. Create a key first (`longhaul keys create`).";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    let authority = header("host").or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
    let has_one_host = parts.headers.get_all("host").iter().count() <= 1;
    if !has_one_host || authority.is_some_and(|authority| !is_this_machine(authority)) {
        let detail = "No API key exists, so only requests to a loopback name (localhost, 127.0.0.1) are answered.";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    let Some(origin) = header("origin") else {
        // Older browsers send no Sec-Fetch-Site, but an Origin with whatever could change something.
        return match header("sec-fetch-site") {
            Some("cross-site") => Err(foreign_page()),
            _ => Ok(()),
        };
    };
    let is_own = origin.split_once("://").is_some_and(|(_, host)| Some(host) == authority);
    // `*` opens an installation with keys, whose pages must know one. Without keys it would open everything to all.
    let is_allowed = origins.iter().any(|allowed| allowed == origin);
    if is_own || is_allowed { Ok(()) } else { Err(foreign_page()) }
}

fn foreign_page() -> Problem {
    Problem::new(Code::Forbidden, "No API key exists, so web pages of other origins may not ask; see `server.cors`.")
}

fn is_this_machine(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    let host = host.trim_end_matches('.');
    host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn unauthorized(detail: &'static str) -> Problem {
    let challenge = axum::http::HeaderValue::from_static("Bearer");
    Problem::new(Code::Unauthorized, detail).header(axum::http::header::WWW_AUTHENTICATE, challenge)
}

fn shown(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some((scheme, key)) = authorization.and_then(|value| value.split_once(' '))
        && scheme.eq_ignore_ascii_case("bearer")
    {
        return Some(key.trim());
    }
    headers.get("x-api-key").and_then(|value| value.to_str().ok())
}

/// A key as it was shown, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownKey {
    /// Which record it names.
    pub id: KeyId,
    /// SHA-256 of its secret.
    pub secret_hash: [u8; 32],
}

impl ShownKey {
    /// Takes `lh_<id>_<secret>` apart, or says what is wrong with it without repeating it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix("lh_").ok_or("an API key begins with lh_")?;
        let (id, secret) = rest.split_once('_').ok_or("an API key is lh_<id>_<secret>")?;
        if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err("the id of an API key is 1 to 64 letters and digits");
        }
        if secret.len() < SECRET_LEAST || secret.len() > 256 {
            return Err("the secret of an API key has 32 to 256 characters");
        }
        Ok(Self { id: id_of(id), secret_hash: Sha256::digest(secret).into() })
    }
}

/// The record that the public half of a key names. Ours are the 32 digits of the id itself; one that somebody made up
/// for the first start may be any word.
pub fn id_of(text: &str) -> KeyId {
    format!("{}_{text}", KeyId::PREFIX).parse().unwrap_or_else(|_| {
        let digest: [u8; 32] = Sha256::digest(text).into();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        KeyId::from_bytes(bytes)
    })
}

/// A fresh key: the record to store, and the text to show once.
pub fn mint(
    ids: &dyn IdSource,
    now: Timestamp,
    tenant: Tenant,
    name: String,
    scopes: Vec<Scope>,
    expires_at: Option<Timestamp>,
) -> (ApiKey, String) {
    let id = KeyId::fresh(ids, now);
    let secret: Vec<u8> = (0..4).flat_map(|_| ids.random().to_be_bytes()).collect();
    let secret = URL_SAFE_NO_PAD.encode(secret);
    let shown = format!("lh_{}_{secret}", id.to_string().trim_start_matches("key_"));
    let secret_hash = Sha256::digest(&secret).into();
    (ApiKey { id, tenant, name, scopes, secret_hash, created_at: now, expires_at, revoked_at: None }, shown)
}

/// The record of a key that was made outside, for the first start: it may everything.
pub fn bootstrap(text: &str, now: Timestamp) -> Result<ApiKey, &'static str> {
    let ShownKey { id, secret_hash } = ShownKey::parse(text.trim())?;
    Ok(ApiKey {
        id,
        tenant: Tenant::default_tenant(),
        name: "bootstrap".into(),
        scopes: vec![Scope::Admin],
        secret_hash,
        created_at: now,
        expires_at: None,
        revoked_at: None,
    })
}

macro_rules! guard {
    ($(#[$doc:meta])* $name:ident, $needed:literal, $may:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(pub Caller);

        impl FromRequestParts<App> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
                let caller = app.identify(parts).await?;
                let may: fn(&Caller) -> bool = $may;
                if may(&caller) {
                    return Ok(Self(caller));
                }
                Err(Problem::new(Code::Forbidden, concat!("The API key lacks the scope ", $needed, ".")))
            }
        }
    };
}

guard!(
    /// A caller who may read jobs and documents.
    Read, "`jobs:read`", |caller| caller.may(&Scope::JobsRead)
);
guard!(
    /// A caller who may submit, cancel, retry and erase.
    Write, "`jobs:write`", |caller| caller.may(&Scope::JobsWrite)
);
guard!(
    /// A caller who may run the installation.
    Admin, "`admin`", |caller| caller.may(&Scope::Admin)
);
guard!(
    /// A caller who may call models.
    Llm, "`llm`", |caller| caller.may(&Scope::Llm)
);
guard!(
    /// Whoever has a key at all.
    AnyKey, "that this needs", |_| true
);
guard!(
    /// A caller who runs the whole installation: an admin of the tenant `default`.
    Operator, "`admin` of the tenant `default`",
    |caller| caller.may(&Scope::Admin) && caller.tenant == Tenant::default_tenant()
);
guard!(
    /// A caller who submits jobs or serves them, and so may know the kinds.
    KnowKinds, "`jobs:read`, `jobs:write` or `worker`",
    |caller| caller.may(&Scope::JobsRead) || caller.may(&Scope::JobsWrite) || is_worker(caller)
);
guard!(
    /// A caller who may serve kinds, and so register them.
    Worker, "`worker`", |caller| caller.may(&Scope::Worker(None)) || is_worker(caller)
);

fn is_worker(caller: &Caller) -> bool {
    caller.scopes.iter().any(|scope| matches!(scope, Scope::Worker(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use longhaul_core::Ids;

    #[test]
    fn a_minted_key_reads_back_as_its_own_record() {
        let ids = Ids::seeded(7);
        let (key, text) =
            mint(&ids, Timestamp::from_micros(5), Tenant::default_tenant(), "ci".into(), vec![Scope::Llm], None);
        let shown = ShownKey::parse(&text).unwrap();
        assert_eq!((shown.id, shown.secret_hash), (key.id, key.secret_hash));
    }

    #[test]
    fn without_keys_only_this_machine_and_its_own_pages_are_answered() {
        let asks = |host: &str, origin: Option<&str>, site: Option<&str>| {
            let mut request = axum::http::Request::get("/v1/jobs").header("host", host);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            if let Some(site) = site {
                request = request.header("sec-fetch-site", site);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            KeyRing::default().identify(&parts, &["https://app.example".into()], Timestamp::EPOCH).is_ok()
        };
        assert!(asks("127.0.0.1:8080", None, None));
        assert!(asks("localhost:8080", Some("http://localhost:8080"), Some("same-origin")));
        assert!(asks("[::1]:8080", Some("https://app.example"), None));
        assert!(!asks("127.0.0.1:8080", Some("https://evil.example"), None));
        assert!(!asks("127.0.0.1:8080", None, Some("cross-site")));
        assert!(!asks("evil.example:8080", None, None));
    }

    #[test]
    fn a_key_with_a_short_secret_or_another_prefix_is_none() {
        assert!(ShownKey::parse("lh_abc_short").is_err());
        assert!(ShownKey::parse("sk-abcdefghijklmnopqrstuvwxyz0123456789").is_err());
        assert!(ShownKey::parse("lh_bootstrap_0123456789012345678901234567890123").is_ok());
    }
}
