//! Calls to one configured address that is no model: a tool, say.
//!
//! Where a call goes is settled when the [`HttpCaller`] is made. What a caller gives later is a body or a query, which no
//! text of its can turn into another host or path; redirects are answers like any other.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use longhaul_providers::exchange::HttpRequest;
use longhaul_resilience::{Clock, Cx};
use tokio_util::task::TaskTracker;

use super::{Endpoint, HttpError, PLACE_WAIT, Pool, PoolSettings};

/// Calls one address, over connections that are kept.
#[derive(Clone)]
pub struct HttpCaller {
    pool: Arc<Pool>,
    method: Method,
    /// Path and query as configured.
    path: String,
    headers: HeaderMap,
    clock: Option<Arc<dyn Clock>>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The type of the body, as the other side calls it.
    pub content_type: Option<String>,
    /// The body, no longer than the settings allow.
    pub body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HttpFailure {
    /// What happened.
    pub message: String,
    /// The other side may have got the request, and have done what it says.
    pub may_have_arrived: bool,
}

impl From<HttpError> for HttpFailure {
    fn from(error: HttpError) -> Self {
        Self { may_have_arrived: error.may_have_arrived(), message: error.to_string() }
    }
}

impl HttpCaller {
    /// Calls `url` by `method`, each time with these headers. Opens no connection yet.
    ///
    /// # Errors
    /// What is wrong with the address, to be read after its name.
    pub fn new(
        method: Method,
        url: &str,
        headers: HeaderMap,
        settings: PoolSettings,
        tracker: TaskTracker,
    ) -> Result<Self, String> {
        let uri: Uri = url.trim().parse().map_err(|_| "is not a URL".to_owned())?;
        if url.contains('#') {
            return Err("must have no fragment: a `#` is never sent".to_owned());
        }
        let base = url.trim().split('?').next().unwrap_or_default();
        let endpoint = Endpoint::parse(base).map_err(|error| error.to_string())?.root();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let pool = Pool::new(endpoint, settings, tracker).map_err(|error| error.to_string())?;
        Ok(Self { pool, method, path, headers, clock: None })
    }

    /// Reads another clock than the machine's.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// Whether a request by its method has a body; else what it says stands in the query.
    pub fn sends_body(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS)
    }

    /// One call: `query` pairs are put behind what the address has, `headers` (names in lower case) go over the configured
    /// ones of their names.
    /// Dropping the future closes the connection. How long it may take is the caller's to say.
    ///
    /// # Errors
    /// Why there is no answer. A status that means an error is an answer.
    pub async fn call(
        &self,
        query: &[(String, String)],
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<HttpAnswer, HttpFailure> {
        let mut cx = Cx::default();
        if let Some(clock) = &self.clock {
            cx = cx.clock(Arc::clone(clock));
        }
        let mut all = self.headers.clone();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|_| {
                HttpError::BadRequest(format!("the header {name} has a value that HTTP does not allow"))
            })?;
            all.insert(HeaderName::from_static(name), value);
        }
        let request = HttpRequest { method: self.method.clone(), path: self.path_with(query), headers: all, body };
        let place = self.pool.place(&cx, cx.renew().after(PLACE_WAIT)).await?;
        let answer = self.pool.send(&cx, place, request).await?;
        let status = answer.head.status.as_u16();
        let header = |name: http::HeaderName| answer.head.headers.get(name).and_then(|value| value.to_str().ok());
        let content_type = header(http::header::CONTENT_TYPE).map(str::to_owned);
        if let Some(coding) = header(http::header::CONTENT_ENCODING).filter(|coding| *coding != "identity") {
            let message = format!("the answer is compressed ({coding}), which was not asked for");
            return Err(HttpFailure { message, may_have_arrived: true });
        }
        let limit_bytes = self.pool.max_answer_bytes();
        let body = answer.body.whole(&cx, limit_bytes).await?;
        Ok(HttpAnswer { status, content_type, body })
    }

    fn path_with(&self, query: &[(String, String)]) -> String {
        let mut path = self.path.clone();
        let mut link = if path.contains('?') { '&' } else { '?' };
        for (name, value) in query {
            path.push(link);
            escape(name, &mut path);
            path.push('=');
            escape(value, &mut path);
            link = '&';
        }
        path
    }
}

/// Writes what RFC 3986 leaves unreserved as it is, and all else as bytes in percent signs.
fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => into.push(char::from(byte)),
            _ => into.push_str(&format!("%{byte:02X}")),
        }
    }
}

impl fmt::Debug for HttpCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCaller").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(url: &str) -> Result<HttpCaller, String> {
        HttpCaller::new(Method::GET, url, HeaderMap::new(), PoolSettings::default(), TaskTracker::new())
    }

    #[test]
    fn arguments_stay_arguments_whatever_they_say() {
        let weather = caller("http://127.0.0.1:1/v1/weather/?units=metric").unwrap();
        let query = [("city".to_owned(), "Łódź&admin=1/../x#y".to_owned())];
        assert_eq!(
            weather.path_with(&query),
            "/v1/weather/?units=metric&city=%C5%81%C3%B3d%C5%BA%26admin%3D1%2F..%2Fx%23y"
        );
        assert_eq!(caller("http://127.0.0.1:1").unwrap().path_with(&[("a".into(), "@evil".into())]), "/?a=%40evil");
    }

    #[test]
    fn what_is_no_address_is_told_why() {
        for (url, why) in [
            ("ftp://a/b", "http://"),
            ("nonsense", "http"),
            ("http://me:pw@a/", "user name"),
            ("http://a/b#c", "fragment"),
        ] {
            let told = caller(url).unwrap_err();
            assert!(told.contains(why), "{url}: {told}");
        }
    }
}
