//! A step for tests: answers, fails and takes its time as told, and counts its calls.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{cx::Cx, fail::Fail, step::Step};

/// A step that does as it was told. Clones share the script and the count.
///
/// ```
/// use longhaul_resilience::{Mock, Retry, Stack};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let service = Mock::failing("503").then_failing("503").then_returning(7);
/// let stack = Stack::named("test").retry(Retry::constant(Duration::ZERO)).around(service.clone());
/// assert_eq!(stack.run("anything").await.unwrap(), 7);
/// assert_eq!(service.calls(), 3);
/// # });
/// ```
pub struct Mock<O, E> {
    shared: Arc<Mutex<Shared<O, E>>>,
}

struct Shared<O, E> {
    /// What is left of the script; its last line is repeated.
    script: VecDeque<Line<O, E>>,
    takes: Duration,
    calls: u64,
    under_way: u64,
    most_at_once: u64,
}

#[derive(Clone)]
enum Line<O, E> {
    Return(O),
    Fail(E),
    Hang,
}

impl<O: Clone, E: Clone> Mock<O, E> {
    /// Answers `out`.
    pub fn returning(out: O) -> Self {
        Self::with(Line::Return(out))
    }

    /// Fails with `error`.
    pub fn failing(error: E) -> Self {
        Self::with(Line::Fail(error))
    }

    /// Never ends.
    pub fn hanging() -> Self {
        Self::with(Line::Hang)
    }

    fn with(line: Line<O, E>) -> Self {
        let shared =
            Shared { script: VecDeque::from([line]), takes: Duration::ZERO, calls: 0, under_way: 0, most_at_once: 0 };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    fn then(self, line: Line<O, E>) -> Self {
        self.lock().script.push_back(line);
        self
    }

    /// And the next time answers `out`.
    pub fn then_returning(self, out: O) -> Self {
        self.then(Line::Return(out))
    }

    /// And the next time fails with `error`.
    pub fn then_failing(self, error: E) -> Self {
        self.then(Line::Fail(error))
    }

    /// And the next time never ends.
    pub fn then_hanging(self) -> Self {
        self.then(Line::Hang)
    }

    /// Every call takes this long.
    pub fn taking(self, takes: Duration) -> Self {
        self.lock().takes = takes;
        self
    }

    /// From now on answers `out`, whatever the script said.
    pub fn now_returning(&self, out: O) {
        self.lock().script = VecDeque::from([Line::Return(out)]);
    }

    /// From now on fails with `error`, whatever the script said.
    pub fn now_failing(&self, error: E) {
        self.lock().script = VecDeque::from([Line::Fail(error)]);
    }

    fn next_line(&self) -> (Option<Line<O, E>>, Duration) {
        let mut shared = self.lock();
        shared.calls += 1;
        let line = if shared.script.len() > 1 { shared.script.pop_front() } else { shared.script.front().cloned() };
        (line, shared.takes)
    }
}

impl<O, E> Mock<O, E> {
    /// How many calls were begun.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// The most calls that were under way at once.
    pub fn most_at_once(&self) -> u64 {
        self.lock().most_at_once
    }

    /// How many calls are under way.
    pub fn under_way(&self) -> u64 {
        self.lock().under_way
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared<O, E>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O, E> Clone for Mock<O, E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<O, E> fmt::Debug for Mock<O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mock({} calls)", self.calls())
    }
}

impl<I, O, E> Step<I> for Mock<O, E>
where
    I: Send,
    O: Clone + Send,
    E: Clone + Send,
{
    type Out = O;
    type Err = Fail<E>;

    async fn call(&self, cx: &Cx<'_>, _input: I) -> Result<O, Fail<E>> {
        let (line, takes) = self.next_line();
        let _under_way = UnderWay::new(self);
        if !takes.is_zero() {
            cx.sleep(takes).await;
        }
        match line {
            Some(Line::Return(out)) => Ok(out),
            Some(Line::Fail(error)) => Err(Fail::inner(error)),
            Some(Line::Hang) | None => std::future::pending().await,
        }
    }
}

struct UnderWay<'a, O, E>(&'a Mock<O, E>);

impl<'a, O, E> UnderWay<'a, O, E> {
    fn new(mock: &'a Mock<O, E>) -> Self {
        let mut shared = mock.lock();
        shared.under_way += 1;
        shared.most_at_once = shared.most_at_once.max(shared.under_way);
        drop(shared);
        Self(mock)
    }
}

impl<O, E> Drop for UnderWay<'_, O, E> {
    fn drop(&mut self) {
        self.0.lock().under_way -= 1;
    }
}
