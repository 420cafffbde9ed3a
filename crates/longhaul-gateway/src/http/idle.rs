//! Connections that wait to be used again, each on the shelf of the event loop that looks after its socket.
//!
//! Whoever asks gets one of its own loop first: then the thread that is told of the answer's bytes is the one that waits for
//! them. Only when it has none does it get another's, which works as well and costs a wake-up across threads.

use tokio::runtime::{Handle, Id};

/// The event loop whose task asks. Must be called within one.
pub(super) fn here() -> Id {
    Handle::current().id()
}

/// Idle connections by home. There are at most as many shelves as there are runtimes: one per core, and one more.
#[derive(Debug)]
pub(super) struct Idle<W>(Vec<Shelf<W>>);

#[derive(Debug)]
struct Shelf<W> {
    home: Id,
    /// The one that was used last is the last.
    wires: Vec<W>,
}

impl<W> Default for Idle<W> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<W> Idle<W> {
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shelf| shelf.wires.len()).sum()
    }

    /// The one that was used last of those at home `here`; else one of those who have most.
    pub(super) fn take(&mut self, here: Id) -> Option<W> {
        let own = self.0.iter_mut().find(|shelf| shelf.home == here).and_then(|shelf| shelf.wires.pop());
        own.or_else(|| self.0.iter_mut().max_by_key(|shelf| shelf.wires.len())?.wires.pop())
    }

    /// Takes one back that was used just now.
    pub(super) fn put(&mut self, home: Id, wire: W) {
        match self.0.iter_mut().find(|shelf| shelf.home == home) {
            Some(shelf) => shelf.wires.push(wire),
            None => self.0.push(Shelf { home, wires: vec![wire] }),
        }
    }

    /// Takes out those that have lain for too long. Costs a look at each shelf when there are none.
    pub(super) fn take_old(&mut self, is_old: impl Fn(&W) -> bool) -> Vec<W> {
        let mut old = Vec::new();
        for shelf in &mut self.0 {
            let count = shelf.wires.iter().take_while(|wire| is_old(wire)).count();
            old.extend(shelf.wires.drain(..count));
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes() -> [Id; 2] {
        [(); 2].map(|()| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.handle().id()
        })
    }

    #[test]
    fn own_ones_first_and_the_last_one_first() {
        let [here, there] = homes();
        let mut idle = Idle::default();
        for (home, wire) in [(here, 1), (here, 2), (there, 3), (there, 4), (there, 5)] {
            idle.put(home, wire);
        }
        assert_eq!(idle.len(), 5);
        let taken: Vec<i32> = std::iter::from_fn(|| idle.take(here)).collect();
        assert_eq!(taken, [2, 1, 5, 4, 3]);
    }

    #[test]
    fn old_ones_go_from_every_shelf() {
        let [here, there] = homes();
        let mut idle = Idle::default();
        for (home, age) in [(here, 9), (here, 1), (there, 7), (there, 8), (there, 2)] {
            idle.put(home, age);
        }
        assert_eq!(idle.take_old(|age| *age > 5), [9, 7, 8]);
        assert_eq!(idle.len(), 2);
    }
}
