//! The values that belong to one key each: where the store lies, who may call from a browser, how to log.

use std::net::IpAddr;
use std::path::PathBuf;

use toml::de::DeValue;

use super::environment::Environment;
use super::secret::Reference;
use super::setting::{Setting, named, quoted};

/// Where jobs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:DIR`: a directory of this machine with the database and the blobs.
    Sqlite(PathBuf),
    /// `postgres://…`: a database that several servers share.
    Postgres(DatabaseUrl),
}

/// The URL of a database, which may hold a password: shown without it.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    text: String,
    from: Option<Reference>,
}

impl DatabaseUrl {
    /// The URL itself, with whatever it holds.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Where a password stands in the text. As the driver reads it: credentials go up to the first `@`, whatever they
    /// hold. A password that has one itself goes up to the last.
    fn password(text: &str) -> Option<std::ops::Range<usize>> {
        let begin = text.find("://")? + 3;
        let credentials = begin..begin + text[begin..].find('@')?;
        let colon = begin + text[credentials].find(':')?;
        Some(colon + 1..text.rfind('@')?)
    }

    /// Where a parameter begins that is a password, or whose name is encoded and may be one.
    fn parameter(text: &str) -> Option<usize> {
        let encoded = text.match_indices(['?', '&']).map(|(place, _)| place + 1).find(|&place| {
            let name = text[place..].split(['=', '&']).next().unwrap_or_default();
            name.contains('%')
        });
        text.find("password=").into_iter().chain(encoded).min()
    }

    fn shown(&self) -> String {
        let mut text = self.text.clone();
        // libpq also takes it as a parameter.
        if let Some(place) = Self::parameter(&text) {
            text.truncate(place);
            text.push_str("password=***");
        }
        if let Some(password) = Self::password(&text) {
            text.replace_range(password, "***");
        }
        text
    }

    fn holds_a_password(text: &str) -> bool {
        Self::password(text).is_some() || Self::parameter(text).is_some()
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DatabaseUrl({:?})", self.shown())
    }
}

impl Setting for StoreUrl {
    const FORM: &'static str =
        "\"sqlite:DIR\", \"postgres://…\", or { env = \"NAME\" } or { file = \"path\" } where such a text lies";
    const MAY_HOLD_A_SECRET: bool = true;

    fn from_toml(value: &DeValue<'_>, environment: &Environment) -> Result<Self, String> {
        match value {
            DeValue::String(text) => match Self::from_text(text)? {
                // Not repeated in the message.
                Self::Postgres(url) if DatabaseUrl::holds_a_password(url.expose()) => Err(
                    "holds a password, which does not belong into the file; put the URL into an environment variable and \
                     write { env = \"DATABASE_URL\" }"
                        .to_owned(),
                ),
                url => Ok(url),
            },
            DeValue::Table(_) => {
                // The text may hold a password, so what it says is not repeated in the message.
                let reference = Reference::from_toml(value)?;
                let secret = reference.resolve(environment)?;
                match Self::from_text(secret.expose()) {
                    Ok(Self::Postgres(url)) => Ok(Self::Postgres(DatabaseUrl { from: Some(reference), ..url })),
                    Ok(url) => Ok(url),
                    Err(_) => {
                        Err(format!("names {reference}, whose text is neither \"sqlite:DIR\" nor \"postgres://…\""))
                    }
                }
            }
            other => Err(format!("must be {}, not {}", Self::FORM, named(other))),
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.split_once(':') {
            Some(("sqlite", directory)) if !directory.is_empty() => Ok(Self::Sqlite(directory.into())),
            Some(("sqlite", _)) => Err("names no directory after `sqlite:`".to_owned()),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") && rest.len() > 2 => {
                Ok(Self::Postgres(DatabaseUrl { text: text.to_owned(), from: None }))
            }
            Some(("postgres" | "postgresql", _)) => {
                Err("must be written \"postgres://user@host:port/database\"".to_owned())
            }
            _ => Err("must be \"sqlite:DIR\", such as \"sqlite:longhaul-data\", or \"postgres://…\"".to_owned()),
        }
    }

    fn to_toml(&self) -> String {
        match self {
            Self::Sqlite(directory) => quoted(&format!("sqlite:{}", directory.display())),
            Self::Postgres(DatabaseUrl { from: Some(Reference::Env(name)), .. }) => {
                format!("{{ env = {} }}", quoted(name))
            }
            Self::Postgres(DatabaseUrl { from: Some(Reference::File(path)), .. }) => {
                format!("{{ file = {} }}", quoted(path))
            }
            Self::Postgres(url) => quoted(&url.shown()),
        }
    }
}

/// A web origin that may call the API from a browser: `scheme://host[:port]`, or `*` for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// The origin as a browser sends it, or `*`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Origin {
    const FORM: &'static str = "an origin such as \"https://app.example.com\", or \"*\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let refuse = |why: &str| Err(format!("has `{text}`, {why}; write it like \"https://app.example.com\""));
        if text == "*" {
            return Ok(Self(text.to_owned()));
        }
        let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
            return refuse("which does not begin with http:// or https://");
        };
        match reqwest::Url::parse(text) {
            Err(_) => refuse("which is not an origin"),
            Ok(_) if rest.contains(['/', '?', '#', '@']) => refuse("which has more than scheme, host and port"),
            // What a browser sends is the normal form: lower case, no default port.
            Ok(url) => Ok(Self(url.origin().ascii_serialization())),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

/// A range of addresses, `10.0.0.0/8` or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Whether an address lies in the range. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, width) = bits(self.address);
        let (other, other_width) = bits(address.to_canonical());
        let shift = width - u32::from(self.prefix_bits);
        width == other_width && own.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
    }
}

/// As it is written, with the number of bits.
impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// An address as a number and how many bits it has.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

impl Setting for Network {
    const FORM: &'static str = "a network such as \"10.0.0.0/8\", or an address";

    fn from_text(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let refuse = || format!("has `{text}`, which is not a network; write it like \"10.0.0.0/8\"");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| refuse())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => width,
            Some(prefix) => prefix.parse().ok().filter(|bits| *bits <= width).ok_or_else(refuse)?,
        };
        Ok(Self { address, prefix_bits })
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Setting for LogFormat {
    const FORM: &'static str = "\"text\" or \"json\"";

    fn from_text(text: &str) -> Result<Self, String> {
        match text.trim() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("must be \"text\" or \"json\", not `{other}`")),
        }
    }

    fn to_toml(&self) -> String {
        match self {
            Self::Text => quoted("text"),
            Self::Json => quoted("json"),
        }
    }
}

/// What is logged: a level, or directives such as `info,longhaul_engine=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The level `info`.
    #[must_use]
    pub fn info() -> Self {
        Self("info".to_owned())
    }

    /// The directives as they were written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for LogFilter {
    const FORM: &'static str = "error, warn, info, debug, trace, or directives such as \"info,longhaul_engine=debug\"";

    fn from_text(text: &str) -> Result<Self, String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        // The filter's own parser takes a bare misspelt level for the name of a target, and would then log nothing.
        let misspelt = |directive: &&str| !directive.contains('=') && !LEVELS.contains(&directive.trim());
        if let Some(word) = text.split(',').find(misspelt) {
            return Err(format!("has `{word}`, which is not a level; use {}", Self::FORM));
        }
        match tracing_subscriber::EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.trim().to_owned())),
            Err(_) => Err(format!("must be {}, not `{text}`", Self::FORM)),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

/// The name of a queue, kind or model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Name {
    /// The name of a model, which may have parts (`meta/llama`) and tags (`llama3:8b`), as clients write them.
    ///
    /// # Errors
    /// A sentence that says what a name is made of.
    pub fn of_model(text: &str) -> Result<Self, String> {
        Self::with(text, &['.', '-', '_', '/', ':'])
    }

    fn with(text: &str, marks: &[char]) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || marks.contains(&c);
        if text.is_empty() || text.len() > 64 || !text.chars().all(allowed) {
            let marks: Vec<String> = marks.iter().map(|mark| format!("`{mark}`")).collect();
            let marks = marks.join(", ");
            let (others, last) = marks.rsplit_once(", ").unwrap_or(("", &marks));
            return Err(format!("must be 1 to 64 letters, digits, {others} or {last}, not `{text}`"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a model, where one is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelName(Name);

impl ModelName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Setting for ModelName {
    const FORM: &'static str = "the name of a model";

    fn from_text(text: &str) -> Result<Self, String> {
        Name::of_model(text).map(Self)
    }

    fn to_toml(&self) -> String {
        self.0.to_toml()
    }
}

impl Setting for Name {
    const FORM: &'static str = "a name of letters, digits, `.`, `-` and `_`";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::with(text, &['.', '-', '_'])
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        let network = Network::from_text("10.0.0.0/8").unwrap();
        assert!(network.contains("10.255.0.1".parse().unwrap()));
        assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!network.contains("11.0.0.1".parse().unwrap()));
        assert!(!network.contains("::a00:1".parse().unwrap()));
        assert!(Network::from_text("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!(Network::from_text("::/0").unwrap().contains("::1".parse().unwrap()));
        assert!(Network::from_text("10.0.0.0/33").is_err());
    }

    #[test]
    fn an_origin_is_kept_as_a_browser_sends_it() {
        assert_eq!(Origin::from_text("https://App.Example.com:443").unwrap().as_str(), "https://app.example.com");
        assert!(Origin::from_text("https://app.example.com/").unwrap_err().contains("more than scheme"));
        assert!(Origin::from_text("app.example.com").unwrap_err().contains("does not begin"));
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        assert!(LogFilter::from_text("inof").unwrap_err().contains("not a level"));
        assert!(LogFilter::from_text("info,longhaul_engine=debug").is_ok());
    }

    fn store_url(toml: &str) -> Result<StoreUrl, String> {
        let pairs = [("DATABASE_URL", "postgres://me:hunter2@db/x"), ("WRONG", "mysql://me:hunter2@db/x")];
        StoreUrl::from_toml(DeValue::parse(toml).unwrap().get_ref(), &Environment::from_pairs(pairs))
    }

    #[test]
    fn a_store_url_from_a_secret_is_not_repeated_in_the_error() {
        let error = store_url("{ env = \"WRONG\" }").unwrap_err();
        assert!(!error.contains("hunter2") && error.contains("WRONG"), "{error}");
    }

    #[test]
    fn a_database_is_named_with_its_password_elsewhere() {
        let StoreUrl::Postgres(url) = store_url("{ env = \"DATABASE_URL\" }").unwrap() else { panic!("another store") };
        assert_eq!(url.expose(), "postgres://me:hunter2@db/x");
        assert!(store_url("\"postgres://me@db/x\"").is_ok());
        for password in [
            "postgres://me:hunter2@db/x",
            "postgres://me:hun/ter2@db/x",
            "postgres://me:hun?ter2@db/x",
            "postgres://me:hun#ter2@db:5432/x",
            "postgres://db/x?user=me&password=hunter2",
            "postgres://db/x?user=me&p%61ssword=hunter2",
        ] {
            let error = store_url(&format!("{password:?}")).unwrap_err();
            assert!(error.contains("DATABASE_URL") && !error.contains("ter2"), "{error}");
        }
        assert!(store_url("\"postgres://me@db:5432/x?application_name=a\"").is_ok());
        assert!(store_url("\"postgres:db\"").unwrap_err().contains("postgres://user@host"));
    }

    #[test]
    fn a_password_is_never_shown() {
        let named = store_url("{ env = \"DATABASE_URL\" }").unwrap();
        assert_eq!(named.to_toml(), "{ env = \"DATABASE_URL\" }");
        for text in [
            "postgres://me:hunter2@db:5432/x",
            "postgres://db/x?password=hunter2",
            "postgres://db/x?p%61ssword=hunter2",
            "postgresql://me:h@unter2@db",
            "postgres://me:h/unter2@db/x",
            "postgres://me:h@a/unter2@db/x",
            "postgres://me:hunter2@db/x?password=hunter2&user=a@b",
        ] {
            let url = StoreUrl::from_text(text).unwrap();
            let shown = format!("{} {url:?} {named:?}", url.to_toml());
            assert!(!shown.contains("unter2") && shown.contains("***"), "{shown}");
        }
    }
}
