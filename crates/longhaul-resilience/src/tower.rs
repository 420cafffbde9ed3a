//! Adapters to and from tower.
//!
//! - [`FromTower`] makes a step of a service. The service is cloned per call and made ready *inside* the call, so a call
//!   that is dropped frees what readiness had reserved, and a cache further out answers without waiting for it.
//! - [`TowerService`] makes a service of a step. It is always ready: a stack decides about capacity when it knows the
//!   request. Its future is boxed, for tower must name it.
//! - [`layer`] makes a `tower::Layer` of a function that builds a stack.

use std::{
    future::poll_fn,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use crate::{
    cx::Cx,
    fail::Fail,
    step::{BoxFuture, Step},
};

/// A tower service as a step.
///
/// ```
/// use longhaul_resilience::{Retry, Stack, tower::FromTower};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let service = tower::service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) });
/// let stack = Stack::named("from-tower").retry(Retry::default()).around(FromTower::new(service));
/// assert_eq!(stack.run(1).await.unwrap(), 2);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct FromTower<S> {
    service: S,
}

impl<S> FromTower<S> {
    /// Wraps `service`, whose clones must share what they limit.
    pub fn new(service: S) -> Self {
        Self { service }
    }
}

impl<I, S> Step<I> for FromTower<S>
where
    I: Send,
    S: Service<I> + Clone + Send + Sync,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
{
    type Out = S::Response;
    type Err = Fail<S::Error>;

    async fn call(&self, _cx: &Cx<'_>, input: I) -> Result<S::Response, Fail<S::Error>> {
        let mut service = self.service.clone();
        poll_fn(|task| service.poll_ready(task)).await.map_err(Fail::inner)?;
        service.call(input).await.map_err(Fail::inner)
    }
}

/// A step as a tower service. Clones share the step.
///
/// ```
/// use longhaul_resilience::{Retry, Stack, tower::TowerService};
/// use tower::ServiceExt;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let stack = Stack::named("to-tower").retry(Retry::default()).around(async |n: u32| Ok::<_, String>(n + 1));
/// let service = TowerService::new(stack);
/// assert_eq!(service.oneshot(1).await.unwrap(), 2);
/// # });
/// ```
pub struct TowerService<I, S> {
    step: Arc<S>,
    cx: Arc<dyn Fn(&I) -> Cx<'static> + Send + Sync>,
}

impl<I, S> TowerService<I, S> {
    /// Every request gets a context of its own, without deadline and correlation id.
    pub fn new(step: S) -> Self {
        Self { step: Arc::new(step), cx: Arc::new(|_| Cx::default()) }
    }

    /// Makes the context of a request, say from its headers.
    pub fn context(self, cx: impl Fn(&I) -> Cx<'static> + Send + Sync + 'static) -> Self {
        Self { cx: Arc::new(cx), ..self }
    }
}

impl<I, S> Clone for TowerService<I, S> {
    fn clone(&self) -> Self {
        Self { step: Arc::clone(&self.step), cx: Arc::clone(&self.cx) }
    }
}

impl<I, S> std::fmt::Debug for TowerService<I, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TowerService")
    }
}

impl<I, S> Service<I> for TowerService<I, S>
where
    I: Send + 'static,
    S: Step<I> + 'static,
{
    type Response = S::Out;
    type Error = S::Err;
    type Future = BoxFuture<'static, Result<S::Out, S::Err>>;

    fn poll_ready(&mut self, _task: &mut Context<'_>) -> Poll<Result<(), S::Err>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, input: I) -> Self::Future {
        let (step, cx) = (Arc::clone(&self.step), (self.cx)(&input));
        Box::pin(async move { step.call(&cx, input).await })
    }
}

/// A `tower::Layer` that builds a stack around the service.
///
/// ```
/// use longhaul_resilience::{Retry, Stack, tower};
/// use ::tower::{ServiceBuilder, ServiceExt};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let service = ServiceBuilder::new()
///     .layer(tower::layer(|inner| Stack::named("layered").retry(Retry::default()).around(inner)))
///     .service(::tower::service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) }));
/// assert_eq!(service.oneshot(1u32).await.unwrap(), 2);
/// # });
/// ```
pub fn layer<I, S, T, F: Fn(FromTower<S>) -> T>(build: F) -> StackLayer<I, S, F> {
    StackLayer { build, types: PhantomData }
}

/// See [`layer`].
pub struct StackLayer<I, S, F> {
    build: F,
    types: PhantomData<fn(I, S)>,
}

impl<I, S, F: Clone> Clone for StackLayer<I, S, F> {
    fn clone(&self) -> Self {
        Self { build: self.build.clone(), types: PhantomData }
    }
}

impl<I, S, T, F> tower_layer::Layer<S> for StackLayer<I, S, F>
where
    F: Fn(FromTower<S>) -> T,
    T: Step<I>,
    I: Send,
{
    type Service = TowerService<I, T>;

    fn layer(&self, service: S) -> Self::Service {
        TowerService::new((self.build)(FromTower::new(service)))
    }
}
