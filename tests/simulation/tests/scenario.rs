//! What a run is made of, drawn from its seed before it begins.

use longhaul_core::Span;

use crate::dice::Dice;

/// How large a run is and what goes wrong in it.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// Whether networks, workers and executors have mishaps.
    pub(crate) is_stormy: bool,
    /// How many things each client does.
    pub(crate) deeds: usize,
    pub(crate) clients: usize,
    pub(crate) workers: usize,
    /// What goes wrong, and when; in order.
    pub(crate) mishaps: Vec<(Span, Mishap)>,
    /// From when on nothing goes wrong any more.
    pub(crate) calm_at: Span,
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// The process is killed, after so many polls of its tasks.
    Crash { after_polls: u64 },
    /// It is asked to stop, and may take so long to end what it does.
    Stop { drain_for: Span },
    /// The machine is suspended.
    Suspend(Span),
    /// The disk is full.
    FillDisk(Span),
    /// Some batches fit on the disk, others do not.
    TightDisk(Span),
    /// Every sync takes long.
    SlowDisk(Span),
    /// It cannot be known whether the next batch is durable.
    DoubtfulBatch { is_kept: bool },
}

impl Scenario {
    /// A storm of about twenty seconds.
    pub(crate) fn storm(seed: u64) -> Self {
        // Apart from the dice of the run itself, so that a scenario can be told beforehand.
        let dice = Dice::of(!seed);
        let calm_at = Span::from_secs(20);
        let count = 2 + dice.below(7);
        let mut mishaps: Vec<(Span, Mishap)> =
            (0..count).map(|_| (dice.between(Span::from_millis(300), calm_at), mishap(&dice))).collect();
        mishaps.sort_by_key(|(at, _)| *at);
        Self {
            is_stormy: true,
            deeds: 6 + dice.below(8),
            clients: 2 + dice.below(2),
            workers: 1 + dice.below(3),
            mishaps,
            calm_at,
        }
    }

    /// A short and quiet run, in which the process is killed once, after exactly so many polls.
    pub(crate) fn killed_at(polls: u64) -> Self {
        Self {
            is_stormy: false,
            deeds: 0,
            clients: 0,
            workers: 1,
            mishaps: vec![(Span::ZERO, Mishap::Crash { after_polls: polls })],
            calm_at: Span::from_secs(2),
        }
    }
}

fn mishap(dice: &Dice) -> Mishap {
    let (short, long) = (Span::from_millis(50), Span::from_secs(4));
    match dice.below(20) {
        0..9 => Mishap::Crash { after_polls: dice.below(60) as u64 },
        9..11 => Mishap::Stop { drain_for: dice.up_to(Span::from_secs(3)) },
        11..13 => Mishap::Suspend(dice.between(short, Span::from_secs(15))),
        13 => Mishap::FillDisk(dice.between(short, long)),
        14 => Mishap::TightDisk(dice.between(short, long)),
        15..17 => Mishap::SlowDisk(dice.between(short, long)),
        _ => Mishap::DoubtfulBatch { is_kept: dice.percent(50) },
    }
}
