//! Making a connection to whichever address of a name stands first.
//!
//! A name may have several addresses, and one that swallows what is sent to it must not use up the time of the others. So
//! they are tried in the resolver's order, each with a head start over the next (RFC 8305), or as soon as one before has
//! failed. TLS belongs to the trial: an address that accepts connections and speaks no TLS is no address to stay with.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use longhaul_resilience::Cx;

use super::error::HttpError;

/// How long an address is tried before the next is tried beside it: what RFC 8305 recommends.
const HEAD_START: Duration = Duration::from_millis(250);
/// Of one name so many addresses are tried: beyond them a connection would not come in time either.
const MAX_ADDRESSES: usize = 8;

/// The first that `connect` makes of `addresses`; the others are given up. Else the last failure, or `none` where there
/// was no address. How long that may take is the caller's to say.
pub(super) async fn first<T, F>(
    cx: &Cx<'_>,
    addresses: impl Iterator<Item = SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
    none: HttpError,
) -> Result<T, HttpError>
where
    F: Future<Output = Result<T, HttpError>>,
{
    let mut waiting = addresses.take(MAX_ADDRESSES).peekable();
    let mut trying = FuturesUnordered::new();
    let mut failed = none;
    loop {
        trying.extend(waiting.next().map(&connect));
        tokio::select! {
            biased;
            tried = trying.next() => match tried {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => failed = error,
                None => return Err(failed),
            },
            () = cx.sleep(HEAD_START), if waiting.peek().is_some() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::Ipv4Addr;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use longhaul_resilience::VirtualClock;

    use super::*;

    /// What becomes of an address, by its last number.
    const DEAD: u8 = 1;
    const SILENT: u8 = 2;
    const GOOD: u8 = 3;

    fn address(last: u8) -> SocketAddr {
        (Ipv4Addr::new(192, 0, 2, last), 443).into()
    }

    struct Trials {
        clock: VirtualClock,
        tried: RefCell<Vec<u8>>,
    }

    impl Trials {
        fn new() -> Self {
            Self { clock: VirtualClock::new(), tried: RefCell::default() }
        }

        async fn connect(&self, to: SocketAddr) -> Result<SocketAddr, HttpError> {
            let SocketAddr::V4(four) = to else { panic!() };
            let last = four.ip().octets()[3];
            self.tried.borrow_mut().push(last);
            match last {
                GOOD => Ok(to),
                SILENT => std::future::pending().await,
                _ => Err(HttpError::Tls(format!("no TLS at {last}"))),
            }
        }

        fn run(&self, addresses: &[u8], after: Duration) -> Poll<Result<SocketAddr, HttpError>> {
            let cx = Cx::default().clock(Arc::new(self.clock.clone()));
            let none = HttpError::Connect("none".to_owned());
            let addresses = addresses.iter().map(|last| address(*last));
            let mut first = pin!(first(&cx, addresses, |to| self.connect(to), none));
            let mut task = Context::from_waker(Waker::noop());
            let at_once = first.as_mut().poll(&mut task);
            if at_once.is_ready() {
                return at_once;
            }
            self.clock.advance(after);
            first.as_mut().poll(&mut task)
        }
    }

    #[test]
    fn a_failure_goes_on_to_the_next_address_at_once_tls_included() {
        let trials = Trials::new();
        assert_eq!(trials.run(&[DEAD, GOOD], Duration::ZERO), Poll::Ready(Ok(address(GOOD))));
        assert_eq!(*trials.tried.borrow(), [DEAD, GOOD]);
    }

    #[test]
    fn a_silent_address_costs_its_head_start_and_not_all_of_the_time() {
        let trials = Trials::new();
        assert!(trials.run(&[SILENT, GOOD], HEAD_START / 2).is_pending());
        assert_eq!(*trials.tried.borrow(), [SILENT], "nobody else before the head start is over");
        let trials = Trials::new();
        assert_eq!(trials.run(&[SILENT, GOOD], HEAD_START), Poll::Ready(Ok(address(GOOD))));
    }

    #[test]
    fn when_none_stands_the_last_failure_is_told() {
        let trials = Trials::new();
        assert_eq!(trials.run(&[], Duration::ZERO), Poll::Ready(Err(HttpError::Connect("none".to_owned()))));
        let last = HttpError::Tls(format!("no TLS at {DEAD}"));
        assert_eq!(trials.run(&[DEAD, DEAD], Duration::ZERO), Poll::Ready(Err(last)));
        assert!(trials.run(&[DEAD, SILENT], Duration::from_secs(60)).is_pending(), "its end is not told here");
    }

    #[test]
    fn no_more_than_a_few_addresses_are_tried() {
        let trials = Trials::new();
        assert!(trials.run(&[DEAD; 50], Duration::ZERO).is_ready());
        assert_eq!(trials.tried.borrow().len(), MAX_ADDRESSES);
    }
}
