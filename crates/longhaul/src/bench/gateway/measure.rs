//! The turns: every way in each round, one after the other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::task::{JoinSet, LocalSet};

use super::client::{Connection, Question, times};
use super::contenders::{self, Contender};
use super::report::{GatewayReport, Row, Turn};
use super::{GatewayPlan, Shape};
use crate::clock::{Stopwatch, wall_nanos};
use crate::screen::Screen;

/// Left out at the beginning of a turn: connections are made, caches warm up.
const WARM_UP: Duration = Duration::from_millis(250);
/// Calls of the paced stream's turn.
const PACED: Shape = Shape { bytes: 16 * 1_024, streamed: true, pace: Duration::from_millis(2) };

pub(super) async fn run(plan: &GatewayPlan, screen: &mut Screen) -> anyhow::Result<GatewayReport> {
    let shapes = [Shape::whole(1_024), Shape::whole(16 * 1_024), Shape::streamed(1_024), Shape::streamed(16 * 1_024)];
    let all: Vec<Shape> = shapes.iter().copied().chain([PACED]).collect();
    let contenders = contenders::start(plan, &all).await?;
    if let Some(missing) = &contenders.missing {
        screen.note(missing);
    }
    let mut numbers = Numbers(Rc::new(Cell::new(0)));
    let mut rows = Vec::new();
    for (subject, clients, shape) in shapes
        .iter()
        .map(|shape| ("throughput", plan.clients, *shape))
        .chain(shapes.iter().map(|shape| ("latency", 1, *shape)))
        .chain([("pieces", 1, PACED)])
    {
        if plan.progress {
            screen.note(format!("{subject}, {}, {clients} connections", shape.describe()));
        }
        let mut row = Row::new(subject, shape.describe(), clients);
        for round in 0..plan.rounds {
            // Each round in another order, so that nobody always comes after the same.
            for at in 0..contenders.list.len() {
                let contender = &contenders.list[(at + round as usize) % contenders.list.len()];
                row.add(contender.name, turn(plan, contender, clients, shape, &mut numbers, false).await?);
            }
        }
        rows.push(row);
    }
    rows.push(cache_hits(plan, &contenders.list, &mut numbers, screen).await?);
    let longhaul = contenders.list.iter().find(|contender| contender.name == "longhaul");
    let peak = longhaul.map_or(0, |contender| contender.usage().peak_bytes);
    Ok(GatewayReport::new(plan, rows, peak, contenders.missing.clone()))
}

/// The same question over and over: only Longhaul has a cache, so the others answer anew.
async fn cache_hits(
    plan: &GatewayPlan,
    contenders: &[Contender],
    numbers: &mut Numbers,
    screen: &mut Screen,
) -> anyhow::Result<Row> {
    let shape = Shape::whole(1_024);
    if plan.progress {
        screen.note("cache hits, 1 connection");
    }
    let mut row = Row::new("cache hit", shape.describe(), 1);
    for _ in 0..plan.rounds {
        for contender in contenders.iter().filter(|contender| contender.name != "nginx") {
            row.add(contender.name, turn(plan, contender, 1, shape, numbers, true).await?);
        }
    }
    Ok(row)
}

/// Numbers of questions, each given once.
#[derive(Clone)]
struct Numbers(Rc<Cell<u64>>);

impl Numbers {
    fn next(&self) -> u64 {
        let number = self.0.get();
        self.0.set(number + 1);
        number
    }
}

/// What the clients of a turn share.
struct Shared {
    begun: Stopwatch,
    turn: Duration,
    calls: Cell<u64>,
    micros: RefCell<Histogram<u64>>,
    /// Delays of pieces, in nanoseconds.
    delays: RefCell<Histogram<u64>>,
}

async fn turn(
    plan: &GatewayPlan,
    contender: &Contender,
    clients: usize,
    shape: Shape,
    numbers: &mut Numbers,
    same: bool,
) -> anyhow::Result<Turn> {
    let shared = Rc::new(Shared {
        begun: Stopwatch::start(),
        turn: plan.turn,
        calls: Cell::new(0),
        micros: RefCell::new(Histogram::new_with_bounds(1, 120_000_000, 3).context("a histogram")?),
        delays: RefCell::new(Histogram::new_with_bounds(1, 60_000_000_000, 3).context("a histogram")?),
    });
    let before = contender.usage();
    let work = async {
        let mut running = JoinSet::new();
        for _ in 0..clients {
            running.spawn_local(client(shared.clone(), contender.address, shape, numbers.clone(), same));
        }
        while let Some(ended) = running.join_next().await {
            ended.context("a client broke")??;
        }
        anyhow::Ok(())
    };
    LocalSet::new().run_until(work).await.with_context(|| format!("through {}", contender.name))?;
    let seconds = (shared.begun.elapsed() - WARM_UP).as_secs_f64();
    let micros = shared.micros.borrow();
    let delays = shared.delays.borrow();
    #[allow(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    let (ms, per_s) = (|value: u64| value as f64 / 1_000.0, shared.calls.get() as f64 / seconds);
    let is_paced = !shape.pace.is_zero();
    Ok(Turn {
        calls_per_s: per_s,
        p50_ms: ms(micros.value_at_quantile(0.5)),
        p99_ms: ms(micros.value_at_quantile(0.99)),
        piece_p50_ms: is_paced.then(|| ms(delays.value_at_quantile(0.5)) / 1_000.0),
        piece_p99_ms: is_paced.then(|| ms(delays.value_at_quantile(0.99)) / 1_000.0),
        cpu_s: contender.usage().cpu_s - before.cpu_s,
    })
}

async fn client(
    shared: Rc<Shared>,
    address: std::net::SocketAddr,
    shape: Shape,
    numbers: Numbers,
    same: bool,
) -> anyhow::Result<()> {
    let mut connection = Connection::new(address);
    let mut question = Question::new(&address.to_string(), shape);
    let only = numbers.next();
    while shared.begun.elapsed() < WARM_UP + shared.turn {
        let number = if same { only } else { numbers.next() };
        let counts = shared.begun.elapsed() >= WARM_UP;
        let call = Stopwatch::start();
        connection
            .ask(question.numbered(number), shape, |bytes| {
                if counts && !shape.pace.is_zero() {
                    let now = wall_nanos();
                    let mut delays = shared.delays.borrow_mut();
                    times(bytes).for_each(|written| delays.saturating_record(now.saturating_sub(written).max(1)));
                }
            })
            .await?;
        if counts {
            shared.calls.set(shared.calls.get() + 1);
            let micros = u64::try_from(call.elapsed().as_micros()).unwrap_or(u64::MAX);
            shared.micros.borrow_mut().saturating_record(micros.max(1));
        }
    }
    Ok(())
}
