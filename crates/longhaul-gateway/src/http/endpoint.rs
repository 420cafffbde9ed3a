//! A base URL, taken apart once.

use std::fmt;

use http::uri::Scheme;
use http::{HeaderValue, Uri};

/// Where a provider is: what its configuration calls `base_url`.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    secure: bool,
    host: String,
    port: u16,
    /// What a `Host` header says.
    authority: HeaderValue,
    /// Without a slash at the end; empty for the root.
    prefix: String,
}

/// Why a text is not a base URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBaseUrl {
    /// It cannot be read as a URL.
    #[error("is not a URL; write it like \"https://api.example.com/v1\"")]
    NotAUrl,
    /// Neither `http` nor `https`.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// A user name or password stands in it.
    #[error("must not hold a user name or password; put the key into `api_key`")]
    Credentials,
    /// It has a query or a fragment.
    #[error("must end with the path: no `?` and no `#`")]
    Query,
}

impl Endpoint {
    /// Reads a base URL such as `https://api.openai.com/v1`.
    ///
    /// ```
    /// use longhaul_gateway::Endpoint;
    /// let endpoint = Endpoint::parse("http://127.0.0.1:8000/v1/").unwrap();
    /// assert_eq!(endpoint.to_string(), "http://127.0.0.1:8000/v1");
    /// assert!(Endpoint::parse("ftp://example.com").is_err());
    /// ```
    ///
    /// # Errors
    /// When it is not one, and why.
    pub fn parse(text: &str) -> Result<Self, BadBaseUrl> {
        let text = text.trim();
        if text.contains(['?', '#']) {
            return Err(BadBaseUrl::Query);
        }
        let uri: Uri = text.parse().map_err(|_| BadBaseUrl::NotAUrl)?;
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(BadBaseUrl::Scheme),
        };
        let authority = uri.authority().ok_or(BadBaseUrl::NotAUrl)?;
        if authority.as_str().contains('@') {
            return Err(BadBaseUrl::Credentials);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(BadBaseUrl::NotAUrl);
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self {
            secure,
            host,
            port,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| BadBaseUrl::NotAUrl)?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The same host without the path.
    pub(crate) fn root(self) -> Self {
        Self { prefix: String::new(), ..self }
    }

    /// Whether it is spoken to over TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// The name or address to connect to.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// What stands before every path; empty for the root.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority.to_str().unwrap_or(&self.host), self.prefix)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_taken_apart() {
        let plain = Endpoint::parse("http://LOCALHOST/v1").unwrap();
        assert_eq!((plain.host(), plain.port(), plain.is_secure()), ("LOCALHOST", 80, false));
        assert_eq!(plain.prefix(), "/v1");
        let six = Endpoint::parse("https://[::1]:8443").unwrap();
        assert_eq!((six.host(), six.port(), six.authority().to_str().unwrap()), ("::1", 8443, "[::1]:8443"));
        assert_eq!(six.prefix(), "");
    }

    #[test]
    fn what_is_not_a_base_url_is_told_why() {
        for (text, why) in [
            ("", BadBaseUrl::NotAUrl),
            ("api.openai.com/v1", BadBaseUrl::NotAUrl),
            ("api.openai.com", BadBaseUrl::Scheme),
            ("ftp://a/b", BadBaseUrl::Scheme),
            ("http://me:secret@a/b", BadBaseUrl::Credentials),
            ("http://a/b?key=1", BadBaseUrl::Query),
            ("http://a b", BadBaseUrl::NotAUrl),
        ] {
            assert_eq!(Endpoint::parse(text), Err(why), "{text:?}");
        }
    }
}
