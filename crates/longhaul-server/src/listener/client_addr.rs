//! Who is at the other end: the peer of the socket, or whom a trusted proxy says it speaks for.
//!
//! A forwarding header is believed only when the peer is a configured proxy, and then read from its right end: each
//! trusted hop vouches for the entry that it appended, and the first address that is not one of ours is the client.
//! What stands further left was sent by the client and proves nothing. Only one header is read, because a proxy that
//! maintains one usually passes the other through as the client sent it.

use std::net::{IpAddr, SocketAddr};

use axum::extract::FromRequestParts;
use http::{HeaderMap, request::Parts};
use ipnet::IpNet;

use crate::problem::{Code, Problem};

/// The client's address, an extension of every request that came through a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr {
    /// The client, as far as it can be known: the right address for limits and logs.
    pub ip: IpAddr,
    /// The other end of the socket: the client itself or the proxy nearest to us.
    pub peer: SocketAddr,
}

impl<S: Send + Sync> FromRequestParts<S> for ClientAddr {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get().copied().ok_or_else(|| {
            tracing::error!("request without a client address; the router is not served by the listener");
            Problem::new(Code::Internal, "The server could not tell the client's address.")
        })
    }
}

/// The header in which the trusted proxies say for whom they speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which nearly every proxy maintains.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The networks whose forwarding headers are believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// An entry of the list of trusted proxies that is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("trusted proxy {entry:?} is neither an IP address nor a network such as 10.0.0.0/8")]
pub struct BadProxy {
    /// The entry as it was written.
    pub entry: String,
}

impl TrustedProxies {
    /// Believes nobody.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads addresses (`192.0.2.7`) and networks in CIDR form (`10.0.0.0/8`, `fd00::/8`).
    ///
    /// # Errors
    /// [`BadProxy`] names the first entry that is neither.
    pub fn parse<I>(entries: I) -> Result<Self, BadProxy>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let read = |entry: I::Item| {
            let text = entry.as_ref().trim();
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| BadProxy { entry: entry.as_ref().to_owned() })
        };
        entries.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this address belongs to a trusted proxy. An IPv4 address in IPv6 clothes counts as what it is.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// The client of a request that `peer` sent with these headers.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap, header: ForwardedHeader) -> ClientAddr {
        let mut ip = peer.ip().to_canonical();
        if self.contains(ip) {
            let name = match header {
                ForwardedHeader::XForwardedFor => "x-forwarded-for",
                ForwardedHeader::Forwarded => "forwarded",
            };
            let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
            for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
                let named = match header {
                    ForwardedHeader::XForwardedFor => parse_node(hop),
                    ForwardedHeader::Forwarded => forwarded_for(hop).and_then(parse_node),
                };
                // An entry that names no address ends what can be known: the hop that wrote it is the best answer.
                let Some(named) = named else { break };
                ip = named;
                if !self.contains(ip) {
                    break;
                }
            }
        }
        ClientAddr { ip, peer }
    }
}

/// The `for` parameter of one element of a `Forwarded` header.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    })
}

/// An address, possibly quoted, bracketed and with a port; `None` for `unknown` and obfuscated names.
fn parse_node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let parsed = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|addr| addr.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    parsed.map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: ForwardedHeader, peer: &str, values: &[&str]) -> String {
        let proxies = TrustedProxies::parse(["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"]).expect("a good list");
        let name = match header {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().expect("a header value"));
        }
        proxies.client(peer.parse().expect("an address"), &headers, header).ip.to_string()
    }

    #[test]
    fn a_stranger_cannot_name_another_client() {
        assert_eq!(client(ForwardedHeader::XForwardedFor, "203.0.113.9:4", &["198.51.100.1"]), "203.0.113.9");
    }

    #[test]
    fn the_rightmost_address_that_is_not_ours_is_the_client() {
        let xff = ForwardedHeader::XForwardedFor;
        assert_eq!(client(xff, "10.1.1.1:4", &["198.51.100.66, 203.0.113.5, 10.2.2.2"]), "203.0.113.5");
        assert_eq!(client(xff, "10.1.1.1:4", &["198.51.100.66", "203.0.113.5"]), "203.0.113.5");
        assert_eq!(client(xff, "10.1.1.1:4", &["10.3.3.3, 10.2.2.2"]), "10.3.3.3");
        assert_eq!(client(xff, "[::ffff:10.1.1.1]:4", &["203.0.113.5:1234"]), "203.0.113.5");
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk_at_the_last_good_hop() {
        let xff = ForwardedHeader::XForwardedFor;
        assert_eq!(client(xff, "10.1.1.1:4", &["203.0.113.5, unknown, 10.2.2.2"]), "10.2.2.2");
        assert_eq!(client(xff, "10.1.1.1:4", &[""]), "10.1.1.1");
    }

    #[test]
    fn the_standard_header_is_read_when_it_is_the_configured_one() {
        let standard = ForwardedHeader::Forwarded;
        let value = r#"for=198.51.100.1, For="[2001:db8:cafe::17]:4711";proto=https, for=10.2.2.2;by=x"#;
        assert_eq!(client(standard, "192.0.2.1:4", &[value]), "198.51.100.1");
        assert_eq!(client(standard, "192.0.2.1:4", &["for=_hidden"]), "192.0.2.1");
        assert_eq!(client(ForwardedHeader::XForwardedFor, "192.0.2.1:4", &[]), "192.0.2.1");
    }

    #[test]
    fn a_bad_entry_is_named() {
        let error = TrustedProxies::parse(["10.0.0.0/8", "proxy.internal"]).expect_err("a name is no network");
        assert_eq!(error.entry, "proxy.internal");
    }
}
