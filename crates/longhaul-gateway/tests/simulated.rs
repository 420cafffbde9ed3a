//! The simulated provider behind the layers, in virtual time.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longhaul_gateway::settings::{
    ModelSettings, Preset, ProviderSettings, RetrySettings, SimSettings, TargetSettings, Trip, Wire,
};
use longhaul_gateway::{Gateway, GatewayOptions, GatewaySettings};
use longhaul_providers::sim::Fault;
use support::{ask, options};

/// A gateway on tokio's own clock, which the tests stop.
fn gateway(sim: SimSettings) -> Gateway {
    let mut settings = GatewaySettings::default();
    settings.providers.insert("sim".to_owned(), ProviderSettings { sim, ..ProviderSettings::new(Wire::Sim) });
    let mut target = TargetSettings::of(Preset::Standard, "sim", "sim-small");
    target.retry = RetrySettings { max_retries: 3, ..RetrySettings::default() };
    target.breaker.trip = Trip::Consecutive(1_000);
    settings.models.insert("sim".to_owned(), ModelSettings::of(Preset::Standard, vec![target]));
    Gateway::new(settings, GatewayOptions { seed: Some(1), ..GatewayOptions::default() }).unwrap()
}

#[tokio::test(start_paused = true)]
async fn it_answers_and_says_what_it_is() {
    let gateway = gateway(SimSettings::default());
    let answer = gateway.chat("sim", ask("hi"), &options()).await.unwrap();
    assert!(answer.response.text().starts_with("[simulated"), "{}", answer.response.text());
    assert!(answer.record.took >= Duration::from_millis(10), "it takes its time: {:?}", answer.record.took);
    let mut stream = gateway.chat_stream("sim", ask("hi"), &options()).await.unwrap();
    let mut pieces = 0;
    while stream.next().await.is_some() {
        pieces += 1;
    }
    assert!(pieces > 5);
    assert!(stream.record().unwrap().first_token.unwrap() < stream.record().unwrap().took);
}

/// Every fault of every sort, whole and streamed: nothing hangs beyond its deadline, and nothing stays held.
#[tokio::test(start_paused = true)]
async fn no_fault_holds_a_call_beyond_its_time() {
    let faults = [
        Fault::RateLimited,
        Fault::ServerError,
        Fault::Overloaded,
        Fault::Hang,
        Fault::Stall,
        Fault::Cut,
        Fault::Malformed,
        Fault::WrongContentType,
        Fault::LateError,
        Fault::Drip,
    ];
    for fault in faults {
        let sim = SimSettings { faults: BTreeMap::from([(fault, 0.7)]), ..SimSettings::default() };
        let gateway = gateway(sim);
        let calls = (0..100).map(|n| {
            let gateway = gateway.clone();
            async move {
                if n % 2 == 0 {
                    let answered = gateway.chat("sim", ask("hi"), &options()).await;
                    return answered.map_or_else(|error| error.record.took, |answer| answer.record.took);
                }
                match gateway.chat_stream("sim", ask("hi"), &options()).await {
                    Err(error) => error.record.took,
                    Ok(mut stream) => {
                        while stream.next().await.is_some() {}
                        // Of a stream the time-out ends at the first token.
                        stream.record().unwrap().first_token.unwrap()
                    }
                }
            }
        });
        let took = futures_util::future::join_all(calls).await;
        let longest = took.into_iter().max().unwrap();
        assert!(longest <= Duration::from_millis(120_001), "{fault:?}: {longest:?}");
        let stack = gateway.stack("sim").unwrap();
        assert_eq!(stack.stats.calls, 100, "{fault:?}");
        assert_eq!((stack.targets[0].places.in_use, stack.targets[0].stats.in_flight), (0, 0), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_the_provider_at_most_a_fifth_more() {
    for fault in [Fault::RateLimited, Fault::ServerError] {
        let sim = SimSettings { faults: BTreeMap::from([(fault, 1.0)]), retry_after_ms: 100, ..SimSettings::default() };
        let gateway = gateway(sim);
        let done = Arc::new(tokio::sync::Semaphore::new(20));
        let calls = (0..2_000).map(|_| {
            let (gateway, done) = (gateway.clone(), Arc::clone(&done));
            async move {
                let _place = done.acquire().await.unwrap();
                gateway.chat("sim", ask("hi"), &options()).await.unwrap_err();
            }
        });
        futures_util::future::join_all(calls).await;
        let attempts = gateway.stack("sim").unwrap().targets[0].stats.attempts;
        assert!(attempts <= 2_400, "{fault:?}: {attempts} attempts for 2,000 calls");
    }
}
