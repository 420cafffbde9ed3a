//! Handlers: from a typed function to an executor of the engine.

use std::{future::Future, marker::PhantomData};

use async_trait::async_trait;
use longhaul_core::KindSpec;
use longhaul_engine::{Check, Completed, Executor, Failure, FieldError, JobContext};
use serde::{Serialize, de::DeserializeOwned};

/// Runs the jobs of one kind, with everything that a job can say and ask.
///
/// ```
/// use longhaul_embedded::{Failure, Handler, JobContext, core::StepName};
///
/// struct Report;
///
/// #[async_trait::async_trait]
/// impl Handler for Report {
///     type Input = Vec<String>;
///     type Output = usize;
///
///     async fn run(&self, job: &JobContext, pages: Vec<String>) -> Result<usize, Failure> {
///         let mut words = 0;
///         for (number, page) in pages.iter().enumerate() {
///             // Done once: after a crash the next attempt gets what was stored.
///             let name = StepName::new(&format!("page:{number}")).map_err(|why| Failure::permanent("step", why.to_string()))?;
///             words += job.step(name, async { Ok(page.split_whitespace().count()) }).await?;
///             job.progress((number + 1) as f64 / pages.len() as f64, format!("page {number}")).await?;
///         }
///         Ok(words)
///     }
/// }
/// ```
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// What a job is given. What is not one is refused at the submit.
    type Input: DeserializeOwned + Send + 'static;
    /// What it gives.
    type Output: Serialize + Send + 'static;

    /// Runs one attempt. Dropped at any await when the job is cancelled, its lease is lost or the program stops.
    async fn run(&self, job: &JobContext, input: Self::Input) -> Result<Self::Output, Failure>;
}

/// A function of the input alone.
pub(crate) struct Function<F, In> {
    function: F,
    input: PhantomData<fn(In)>,
}

impl<F, In> Function<F, In> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, input: PhantomData }
    }
}

#[async_trait]
impl<F, In, Out, Fut> Handler for Function<F, In>
where
    F: Fn(In) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, Failure>> + Send + 'static,
    In: DeserializeOwned + Send + 'static,
    Out: Serialize + Send + 'static,
{
    type Input = In;
    type Output = Out;

    async fn run(&self, _: &JobContext, input: In) -> Result<Out, Failure> {
        (self.function)(input).await
    }
}

/// A handler as the engine sees it.
pub(crate) struct Handled<H> {
    kind: KindSpec,
    handler: H,
}

impl<H> Handled<H> {
    pub(crate) fn new(kind: KindSpec, handler: H) -> Self {
        Self { kind, handler }
    }
}

impl<H: Handler> Check for Handled<H> {
    fn check(&self, input: &str) -> Vec<FieldError> {
        let mut deserializer = serde_json::Deserializer::from_str(input);
        match serde_path_to_error::deserialize::<_, H::Input>(&mut deserializer) {
            Ok(_) => Vec::new(),
            Err(error) => vec![FieldError { pointer: pointer(error.path()), message: error.inner().to_string() }],
        }
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

#[async_trait]
impl<H: Handler> Executor for Handled<H> {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    fn check(&self) -> Option<&dyn Check> {
        Some(self)
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let output = self.handler.run(job, job.parse_input()?).await?;
        Completed::json(&output)
    }
}
