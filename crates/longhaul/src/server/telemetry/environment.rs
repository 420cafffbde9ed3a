//! OpenTelemetry's standard environment variables, as far as they are about sending traces over OTLP/HTTP.
//!
//! An empty variable counts as unset, as the specification has it.

use std::time::Duration;

use longhaul_core::TraceContext;

/// How spans are sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TraceSettings {
    /// Where to.
    pub(super) endpoint: String,
    /// What goes with each request: a key of the collector's, mostly. Never logged.
    pub(super) headers: Vec<(String, String)>,
    /// How long one request may take.
    pub(super) timeout: Duration,
    /// Which traces.
    pub(super) sampler: Sampler,
    /// What the process is known by.
    pub(super) resource: Vec<(String, String)>,
    /// How many spans wait at most; what comes then is left out.
    pub(super) queue: usize,
    /// How many are sent at once at most.
    pub(super) batch: usize,
    /// How long the first of a batch waits for the others.
    pub(super) delay: Duration,
}

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampler {
    /// The part of the traces that begin here, 0 to 1.
    pub(super) part: f64,
    /// Whether a trace that began elsewhere is recorded when, and only when, it is there.
    pub(super) follows_parent: bool,
}

impl Sampler {
    const ALWAYS: Self = Self { part: 1.0, follows_parent: true };

    /// Whether a trace is recorded. The same for the same id, wherever it is asked.
    pub(super) fn takes(self, trace_id: u128, parent: Option<TraceContext>) -> bool {
        match parent {
            Some(parent) if self.follows_parent => parent.is_sampled(),
            _ if self.part >= 1.0 => true,
            // Sixty-three bits, as the other implementations of the ratio sampler take them.
            _ => ((trace_id as u64) >> 1) < (self.part.max(0.0) * (1_u64 << 63) as f64) as u64,
        }
    }
}

/// What the environment says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// How spans are sent; none: not at all.
    pub(super) settings: Option<TraceSettings>,
    /// What could not be used, in whole sentences.
    pub(super) warnings: Vec<String>,
}

/// Reads the variables.
pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Found {
    let get = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let mut warnings = Vec::new();
    let settings = settings(&get, &mut warnings);
    Found { settings, warnings }
}

fn settings(get: &dyn Fn(&str) -> Option<String>, warnings: &mut Vec<String>) -> Option<TraceSettings> {
    // The variable for traces alone goes before the one for everything.
    let either = |name: &str| {
        let (own, general) = (format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), format!("OTEL_EXPORTER_OTLP_{name}"));
        get(&own).map(|value| (own, value)).or_else(|| get(&general).map(|value| (general, value)))
    };
    if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    let endpoint = either("ENDPOINT");
    match get("OTEL_TRACES_EXPORTER").as_deref() {
        Some("otlp") => {}
        None if endpoint.is_some() => {}
        None | Some("none") => return None,
        Some(other) => {
            warnings.push(format!(
                "OTEL_TRACES_EXPORTER is {other:?}; this server knows `otlp` and `none`, and records no traces"
            ));
            return None;
        }
    }
    if let Some((name, protocol)) = either("PROTOCOL").filter(|(_, protocol)| protocol != "http/protobuf") {
        warnings.push(format!(
            "{name} is {protocol:?}; this server speaks `http/protobuf`, which collectors take on port 4318, and records no traces"
        ));
        return None;
    }
    let endpoint = match endpoint {
        None => "http://localhost:4318/v1/traces".to_owned(),
        Some((name, url)) if name.contains("TRACES") => url,
        Some((_, url)) => format!("{}/v1/traces", url.trim_end_matches('/')),
    };
    if !(endpoint.starts_with("http://") || endpoint.starts_with("https://")) {
        warnings.push(format!(
            "the endpoint of OTLP is {:?}, which is no http or https URL; no traces are recorded",
            shown(&endpoint)
        ));
        return None;
    }
    let headers = either("HEADERS").map(|(name, value)| pairs(&name, &value, warnings)).unwrap_or_default();
    let mut number = |name: &str, usual: u64| match get(name) {
        None => usual,
        Some(value) => value.parse().ok().filter(|number| *number > 0).unwrap_or_else(|| {
            warnings.push(format!("{name} is {value:?}, which is no number above zero; {usual} is taken"));
            usual
        }),
    };
    let timeout = number("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000);
    let timeout = number("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", timeout);
    let queue = number("OTEL_BSP_MAX_QUEUE_SIZE", 2_048);
    let batch = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512).min(queue);
    let delay = number("OTEL_BSP_SCHEDULE_DELAY", 5_000);
    let size = |number| usize::try_from(number).unwrap_or(usize::MAX).min(QUEUE_MOST);
    Some(TraceSettings {
        endpoint,
        headers,
        timeout: Duration::from_millis(timeout),
        sampler: sampler(get, warnings),
        resource: resource(get, warnings),
        queue: size(queue),
        batch: size(batch),
        delay: Duration::from_millis(delay),
    })
}

/// An endpoint as it can stand in a log: without the name and password before its host and without its query, either of which
/// may be the key of a collector.
pub(super) fn shown(endpoint: &str) -> String {
    // An `@` behind the host is what a password leaves there that was not escaped.
    let uri = endpoint.parse::<http::Uri>().ok().filter(|uri| !uri.path().contains('@'));
    let Some((uri, host)) = uri.as_ref().and_then(|uri| Some((uri, uri.host()?))) else {
        return "(unreadable)".to_owned();
    };
    let scheme = uri.scheme_str().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}{host}{port}{}", uri.path())
}

/// A queue longer than this is a mistake: a span takes about a kilobyte.
const QUEUE_MOST: usize = 1 << 20;

fn sampler(get: &dyn Fn(&str) -> Option<String>, warnings: &mut Vec<String>) -> Sampler {
    let Some(name) = get("OTEL_TRACES_SAMPLER") else { return Sampler::ALWAYS };
    let (root, follows_parent) = match name.strip_prefix("parentbased_") {
        Some(root) => (root, true),
        None => (name.as_str(), false),
    };
    let part = match root {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => match get("OTEL_TRACES_SAMPLER_ARG").map(|value| (value.parse::<f64>(), value)) {
            None => 1.0,
            Some((Ok(part), _)) if (0.0..=1.0).contains(&part) => part,
            Some((_, value)) => {
                warnings
                    .push(format!("OTEL_TRACES_SAMPLER_ARG is {value:?}, which is no number from 0 to 1; 1 is taken"));
                1.0
            }
        },
        _ => {
            warnings.push(format!(
                "OTEL_TRACES_SAMPLER is {name:?}; known are always_on, always_off, traceidratio and these with parentbased_ \
                 before them; parentbased_always_on is taken"
            ));
            return Sampler::ALWAYS;
        }
    };
    Sampler { part, follows_parent }
}

fn resource(get: &dyn Fn(&str) -> Option<String>, warnings: &mut Vec<String>) -> Vec<(String, String)> {
    let name = "OTEL_RESOURCE_ATTRIBUTES";
    let mut resource = get(name).map(|value| pairs(name, &value, warnings)).unwrap_or_default();
    let has = |resource: &[(String, String)], key: &str| resource.iter().any(|(known, _)| known == key);
    if let Some(service) = get("OTEL_SERVICE_NAME") {
        resource.retain(|(key, _)| key != "service.name");
        resource.push(("service.name".into(), service));
    }
    for (key, value) in [("service.name", "longhaul"), ("service.version", env!("CARGO_PKG_VERSION"))] {
        if !has(&resource, key) {
            resource.push((key.into(), value.into()));
        }
    }
    resource
}

/// `key=value,key=value`; values are percent-encoded, as in W3C Baggage.
fn pairs(name: &str, text: &str, warnings: &mut Vec<String>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (place, pair) in (1..).zip(text.split(',').map(str::trim).filter(|pair| !pair.is_empty())) {
        match pair.split_once('=').and_then(|(key, value)| Some((key.trim(), decoded(value.trim())?))) {
            Some((key, value)) if !key.is_empty() => pairs.push((key.to_owned(), value)),
            // The pair itself is not repeated: it may be a secret.
            _ => warnings.push(format!("{name} has a pair, number {place}, that is not `key=value`; it is left out")),
        }
    }
    pairs
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Found {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        read(find)
    }

    fn on(variables: &[(&str, &str)]) -> TraceSettings {
        let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")];
        let found = with(&[&endpoint, variables].concat());
        assert_eq!(found.warnings, Vec::<String>::new());
        found.settings.unwrap()
    }

    #[test]
    fn nothing_is_recorded_unless_somebody_says_where_to() {
        assert_eq!(with(&[]), Found::default());
        assert_eq!(with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " "), ("OTEL_SERVICE_NAME", "x")]), Found::default());
        for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), off]), Found::default());
        }
        let usual = with(&[("OTEL_TRACES_EXPORTER", "otlp")]).settings.unwrap();
        assert_eq!(usual.endpoint, "http://localhost:4318/v1/traces");
    }

    #[test]
    fn the_variables_for_traces_go_before_those_for_everything() {
        assert_eq!(on(&[]).endpoint, "http://collector:4318/v1/traces");
        let own = on(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/take"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Bearer%20x%2Cy, b = 2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "700"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ]);
        assert_eq!((own.endpoint.as_str(), own.timeout), ("https://traces/take", Duration::from_millis(700)));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(own.headers, [pair("authorization", "Bearer x,y"), pair("b", "2")]);
    }

    #[test]
    fn what_cannot_be_used_is_named_and_never_repeats_a_secret() {
        let grpc = with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
        assert!(grpc.settings.is_none() && grpc.warnings[0].contains("4318"), "{grpc:?}");
        let found = with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "geheim"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-3"),
        ]);
        let said = found.warnings.join("\n");
        assert_eq!((found.settings.unwrap().queue, found.warnings.len()), (2_048, 3), "{said}");
        assert!(!said.contains("geheim") && said.contains("OTEL_TRACES_SAMPLER is \"sometimes\""), "{said}");
    }

    #[test]
    fn an_endpoint_is_shown_without_what_may_be_a_key() {
        for (endpoint, told) in [
            ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
            ("https://me:geheim@collector.example/v1/traces?key=geheim", "https://collector.example/v1/traces"),
            ("https://geheim@[::1]:4318/v1/traces#geheim", "https://[::1]:4318/v1/traces"),
            ("http://me:ge/heim@collector/v1", "(unreadable)"),
            ("collector.example/v1?key=geheim", "(unreadable)"),
        ] {
            assert_eq!(shown(endpoint), told);
        }
        let found = with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://me:geheim@collector:4317")]);
        assert!(found.settings.is_none() && !found.warnings[0].contains("geheim"), "{found:?}");
        assert!(found.warnings[0].contains("grpc://collector:4317"), "{found:?}");
    }

    #[test]
    fn a_ratio_takes_its_part_and_a_parent_decides_where_it_is_asked() {
        let ratio = on(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.25")]).sampler;
        let spread = |number: u64| u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let taken = (0..10_000).filter(|number| ratio.takes(spread(*number), None)).count();
        assert!((2_300..2_700).contains(&taken), "{taken}");
        let sampled: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
        let never = on(&[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]).sampler;
        assert!(never.takes(1, Some(sampled)) && !never.takes(1, None));
        let off = on(&[("OTEL_TRACES_SAMPLER", "always_off")]).sampler;
        assert!(!off.takes(1, Some(sampled)));
        assert!(
            Sampler::ALWAYS.takes(1, None) && !Sampler::ALWAYS.takes(1, Some(TraceContext { flags: 0, ..sampled }))
        );
    }

    #[test]
    fn the_process_is_known_by_its_service() {
        let named = on(&[("OTEL_SERVICE_NAME", "night-shift"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,team=ml")]);
        let of =
            |key: &str| -> Vec<&(String, String)> { named.resource.iter().filter(|(known, _)| known == key).collect() };
        assert_eq!(of("service.name"), [&("service.name".to_owned(), "night-shift".to_owned())]);
        assert_eq!(of("team").len(), 1);
    }
}
