//! The fault table: nothing hangs beyond its deadline, calls are not multiplied, and nobody else is touched.

use super::{GatewayStage, TIMEOUT_MS};
use longhaul_testkit::client::Client;
use longhaul_testkit::upstream::Fault;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Above the deadline: what a busy machine of two cores takes to notice.
const SLACK: Duration = Duration::from_secs(3);

/// What is wrong, and which statuses a call may then have. A stream that has begun is 200 and ends with an error. On a busy
/// machine an attempt may always be cut off by the clock before the provider could show what is wrong with it.
const TABLE: [(Fault, &[u16]); 10] = [
    (Fault::Hang, &[504]),
    (Fault::Throttle, &[429, 504]),
    (Fault::ServerError, &[502, 504]),
    (Fault::Reset, &[502, 504]),
    (Fault::Drip, &[504]),
    (Fault::Malformed, &[502, 504]),
    (Fault::Huge, &[502, 504]),
    (Fault::GzipBomb, &[502, 504]),
    (Fault::WrongType, &[502, 504]),
    (Fault::Truncated, &[502, 504]),
];

fn ask(model: &str, streamed: bool) -> Value {
    json!({"model": model, "stream": streamed, "messages": [{"role": "user", "content": "Is all well?"}]})
}

/// What many calls came to.
#[derive(Default)]
struct Tally {
    slowest: Duration,
    wrong: Vec<String>,
}

/// Makes `count` calls, every other one streamed: 200 at once, but few of those whose GiB this process has to make itself.
async fn calls(client: &Client, fault: Fault, statuses: &'static [u16], count: usize) -> Tally {
    let left = Arc::new(AtomicU64::new(count as u64));
    let mut workers = JoinSet::new();
    let at_once = if fault == Fault::Huge { 16 } else { 200 };
    for _ in 0..count.min(at_once) {
        let (client, left) = (client.clone(), left.clone());
        workers.spawn(async move {
            let mut tally = Tally::default();
            while let Ok(number) = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
                let streamed = number % 2 == 0;
                let begin = Instant::now();
                let reply = client.post("/v1/chat/completions").json(&ask(fault.name(), streamed)).send().await;
                tally.slowest = tally.slowest.max(begin.elapsed());
                match reply {
                    Ok(reply) => tally.wrong.extend(judge(&reply, statuses, streamed)),
                    Err(error) => tally.wrong.push(format!("no answer: {error}")),
                }
            }
            tally
        });
    }
    let mut all = Tally::default();
    while let Some(tally) = workers.join_next().await {
        let tally = tally.unwrap();
        all.slowest = all.slowest.max(tally.slowest);
        all.wrong.extend(tally.wrong);
    }
    all
}

/// What is wrong with an answer to a call that cannot succeed.
fn judge(reply: &longhaul_testkit::client::Reply, statuses: &[u16], streamed: bool) -> Option<String> {
    let text = reply.text();
    if streamed && reply.status == 200 {
        let ends = text.trim_end().lines().last().unwrap_or_default().contains("\"error\"");
        return (!ends || text.contains("[DONE]"))
            .then(|| format!("a broken stream that does not say so: {text:.300}"));
    }
    let is_error = reply.json()["error"]["message"].is_string();
    let fits = statuses.contains(&reply.status) && is_error;
    (!fits).then(|| format!("{} {text:.300}", reply.status))
}

/// A sound provider is called all the time meanwhile, and never fails.
struct Bystander {
    stop: Arc<AtomicBool>,
    running: tokio::task::JoinHandle<(u64, Vec<String>)>,
}

impl Bystander {
    fn start(client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let over = stop.clone();
        let running = tokio::spawn(async move {
            let (mut count, mut wrong) = (0, Vec::new());
            while !over.load(Ordering::SeqCst) {
                let streamed = count % 2 == 0;
                let reply = client.post("/v1/chat/completions").json(&ask("sound", streamed)).send().await;
                match reply {
                    Ok(reply) if reply.status == 200 && reply.text().contains("well.") => {}
                    Ok(reply) => wrong.push(reply.to_string()),
                    Err(error) => wrong.push(error.to_string()),
                }
                count += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (count, wrong)
        });
        Self { stop, running }
    }

    async fn ended(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        let (count, wrong) = self.running.await.unwrap();
        assert_eq!(wrong, Vec::<String>::new(), "a provider that is sound must not suffer");
        count
    }
}

async fn table(count: usize) {
    let stage = GatewayStage::open().await;
    let client = stage.server.client();
    let bystander = Bystander::start(client.clone());
    for (fault, statuses) in TABLE {
        let begin = Instant::now();
        let tally = calls(&client, fault, statuses, count).await;
        let asked = stage.upstream.calls(fault);
        println!(
            "{:>13}: {count} calls, {asked} upstream ({:.2} x), slowest {:?}, {:?} in all",
            fault.name(),
            asked as f64 / count as f64,
            tally.slowest,
            begin.elapsed()
        );
        let shown: Vec<&String> = tally.wrong.iter().take(5).collect();
        assert!(tally.wrong.is_empty(), "{}: {} wrong answers, such as {shown:#?}", fault.name(), tally.wrong.len());
        assert!(tally.slowest < Duration::from_millis(TIMEOUT_MS) + SLACK, "{}: {:?}", fault.name(), tally.slowest);
        // The budget of retries starts with a few in hand, which are most of what a short run sees.
        let in_hand = if count < 2_000 { 30.0 } else { 0.0 };
        let most = count as f64 * 1.2 + in_hand;
        assert!(asked as f64 <= most, "{}: {asked} upstream calls for {count}", fault.name());
    }
    println!("{} calls of a sound provider meanwhile, all answered", bystander.ended().await);

    // Nothing is held any more: no permit, no place, no tokens.
    for (fault, _) in TABLE {
        let stack = client.get(&format!("/v1/models/{}/stack", fault.name())).send().await.unwrap().json();
        let target = &stack["targets"][0];
        assert_eq!(target["places"]["in_use"], 0, "{}: {stack}", fault.name());
        assert_eq!(target["stats"]["in_flight"], 0, "{}: {stack}", fault.name());
    }
    let resident = stage.server.resident_bytes().unwrap();
    println!("{} MiB resident in the end", resident >> 20);
    assert!(resident < 400 << 20, "{} MiB", resident >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_a_provider_holds_a_call_or_touches_another() {
    table(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "2,000 calls for each fault"]
async fn no_fault_of_a_provider_holds_two_thousand_calls_or_touches_another() {
    table(2_000).await;
}

#[tokio::test]
async fn a_breaker_spares_a_provider_that_is_down() {
    let stage = GatewayStage::open().await;
    let client = stage.server.client();
    for _ in 0..200 {
        let reply = client.post("/v1/chat/completions").json(&ask("guarded", false)).send().await.unwrap();
        assert!(matches!(reply.status, 502 | 503), "{reply}");
    }
    let asked = stage.upstream.calls(Fault::ServerError);
    assert!(asked <= 20, "{asked} calls reached a provider that is down");
}
