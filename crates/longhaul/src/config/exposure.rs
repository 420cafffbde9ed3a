//! The rule that an open door needs a lock: without any API key the server listens on loopback and nowhere else.
//!
//! Whether keys exist is known only to the opened store, so `serve` asks here after opening it and before binding.

use std::net::SocketAddr;

/// The server would have been reachable from other machines without a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "refusing to listen on {listen}: no API key exists, so anybody who reaches this address could do anything\n  \
     either listen on loopback: --listen 127.0.0.1:{port}\n  \
     or make the first key: set LONGHAUL_BOOTSTRAP_KEY (or LONGHAUL_BOOTSTRAP_KEY_FILE) to a key of the form \
     lh_<id>_<secret>,\n  \
     or run `longhaul keys create` while the server listens on loopback",
    port = .listen.port()
)]
pub struct Exposed {
    /// The address that was asked for.
    pub listen: SocketAddr,
}

/// Refuses an address that other machines can reach while no key exists.
///
/// # Errors
/// [`Exposed`], whose text says what to do.
pub fn refuse_if_exposed(listen: SocketAddr, a_key_exists: bool) -> Result<(), Exposed> {
    if a_key_exists || listen.ip().to_canonical().is_loopback() { Ok(()) } else { Err(Exposed { listen }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_key_only_loopback_is_allowed() {
        let refused = |text: &str, key| refuse_if_exposed(text.parse().unwrap(), key).is_err();
        assert!(refused("0.0.0.0:8080", false));
        assert!(refused("[::]:8080", false));
        assert!(refused("192.168.1.4:8080", false));
        assert!(!refused("127.0.0.9:8080", false));
        assert!(!refused("[::1]:8080", false));
        assert!(!refused("[::ffff:127.0.0.1]:8080", false));
        assert!(!refused("0.0.0.0:8080", true));
    }

    #[test]
    fn the_refusal_says_what_to_do() {
        let text = refuse_if_exposed("0.0.0.0:9000".parse().unwrap(), false).unwrap_err().to_string();
        assert!(text.contains("--listen 127.0.0.1:9000") && text.contains("LONGHAUL_BOOTSTRAP_KEY"), "{text}");
    }
}
