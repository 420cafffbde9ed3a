//! Requests by route: how many, how they ended, how long they took.
//!
//! Routes are told by their template, never by their path: there are as many as the program has.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use http::{Method, StatusCode};
use longhaul_core::Span;

use super::{
    instruments::{Edges, Histogram},
    text::{Kind, Page},
};

/// Methods that are told by their name.
const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS, Method::PATCH];

/// How every other method is told.
const OTHER_METHOD: &str = "_OTHER";

/// How a request is told that no route took.
pub(crate) const NO_ROUTE: &str = "(none)";

/// The classes of status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

static REQUEST: Edges = Edges::REQUEST;

/// One histogram for each method and class that has been seen.
#[derive(Debug, Default)]
struct Route([[OnceLock<Box<Histogram>>; CLASSES.len()]; METHODS.len() + 1]);

/// All requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    routes: RwLock<HashMap<Arc<str>, Arc<Route>>>,
    active: AtomicI64,
}

impl Requests {
    pub(super) fn begin(&self) {
        self.active.fetch_add(1, Relaxed);
    }

    /// A request that [`Requests::begin`] has counted was given up.
    pub(super) fn given_up(&self) {
        self.active.fetch_sub(1, Relaxed);
    }

    pub(super) fn end(&self, route: &str, method: &Method, status: StatusCode, took: Span) {
        self.active.fetch_sub(1, Relaxed);
        let method = METHODS.iter().position(|known| known == method).unwrap_or(METHODS.len());
        let class = usize::from(status.as_u16() / 100).saturating_sub(1).min(CLASSES.len() - 1);
        let route = self.route(route);
        if let Some(cell) = route.0.get(method).and_then(|classes| classes.get(class)) {
            cell.get_or_init(|| Box::new(Histogram::new(&REQUEST))).record(took.as_micros());
        }
    }

    fn route(&self, route: &str) -> Arc<Route> {
        if let Some(known) = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(route) {
            return known.clone();
        }
        self.routes.write().unwrap_or_else(PoisonError::into_inner).entry(route.into()).or_default().clone()
    }

    pub(super) fn tell(&self, page: &mut Page) {
        let help =
            "How long requests took until the head of their answer, by route. A request that asked to wait has waited.";
        let mut family = page.family(Kind::Histogram, "http_server_request_duration_seconds", help);
        let mut routes: Vec<_> = {
            let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            routes.iter().map(|(name, route)| (name.clone(), route.clone())).collect()
        };
        routes.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (route, methods) in &routes {
            for (index, classes) in methods.0.iter().enumerate() {
                let method = METHODS.get(index).map_or(OTHER_METHOD, Method::as_str);
                for (class, histogram) in
                    CLASSES.iter().zip(classes).filter_map(|(class, cell)| Some((class, cell.get()?)))
                {
                    let labels = [("http_request_method", method), ("http_route", route), ("status_class", class)];
                    family.histogram(&labels, &histogram.take());
                }
            }
        }
        let active = self.active.load(Relaxed).max(0) as f64;
        page.gauge("http_server_active_requests", "Requests whose answer has not begun.", active);
    }
}
