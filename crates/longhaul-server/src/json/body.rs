//! Reads a request body whole, up to a limit.

use axum::body::{Body, Bytes};
use bytes::BytesMut;
use http::Extensions;
use http_body_util::BodyExt as _;

use crate::{
    listener::BodyTooSlow,
    problem::{Code, Problem},
};

/// The most bytes a route takes as a JSON body; an extension of its requests. Without it, [`BodyLimit::DEFAULT`].
///
/// ```
/// use axum::{Extension, Router};
/// use longhaul_server::json::BodyLimit;
/// let bulk: Router = Router::new().layer(Extension(BodyLimit(32 * 1024 * 1024)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit(pub usize);

impl BodyLimit {
    /// 1 MiB.
    pub const DEFAULT: Self = Self(1024 * 1024);

    /// The limit of this request.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self::DEFAULT)
    }
}

/// Reads a body whole. A large one that came in one piece is not copied; a small one is, for it lies in the buffer of its
/// connection, which it would hold as long as it is held itself: by each call that waits for a slow provider.
///
/// # Errors
/// 413 as soon as the body is, or says it is, larger than the limit; 408 when it came too slowly; 400 when it broke
/// off.
pub async fn read_body(mut body: Body, limit: BodyLimit) -> Result<Bytes, Problem> {
    let hint = http_body::Body::size_hint(&body);
    if hint.lower() > limit.0 as u64 {
        return Err(too_large(limit, hint.exact()));
    }
    let Some(first) = next_piece(&mut body).await? else { return Ok(Bytes::new()) };
    if first.len() > limit.0 {
        return Err(too_large(limit, None));
    }
    if http_body::Body::is_end_stream(&body) {
        return Ok(on_its_own(first));
    }
    let Some(second) = next_piece(&mut body).await? else { return Ok(on_its_own(first)) };
    // The announced length is within the limit, but the memory is taken as the bytes come, not as they are promised.
    let mut whole = BytesMut::with_capacity((first.len() + second.len()).max(8 * 1024));
    whole.extend_from_slice(&first);
    let mut piece = second;
    loop {
        if whole.len() + piece.len() > limit.0 {
            return Err(too_large(limit, None));
        }
        whole.extend_from_slice(&piece);
        match next_piece(&mut body).await? {
            Some(next) => piece = next,
            None => return Ok(whole.freeze()),
        }
    }
}

/// Below this a copy costs less than the buffer of 8 KiB that it lets go.
const COPIED_BYTES: usize = 4 * 1024;

fn on_its_own(piece: Bytes) -> Bytes {
    if piece.len() <= COPIED_BYTES { Bytes::copy_from_slice(&piece) } else { piece }
}

/// What the client is told when its body cannot be read to the end.
pub fn body_problem(error: &(dyn std::error::Error + 'static)) -> Problem {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<BodyTooSlow>() {
            return Problem::new(Code::RequestTimeout, "The request body arrived too slowly.");
        }
        cause = error.source();
    }
    Problem::new(Code::MalformedRequest, "The request body broke off before its end.")
}

async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                // Trailers carry nothing that a JSON body could need.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => return Err(body_problem(&error)),
        }
    }
}

fn too_large(limit: BodyLimit, size: Option<u64>) -> Problem {
    let sent = size.map_or_else(|| "larger".to_owned(), |size| format!("{size} bytes long"));
    Problem::new(
        Code::PayloadTooLarge,
        format!("The body is {sent}; this route takes at most {} bytes ({}).", limit.0, in_units(limit.0)),
    )
}

fn in_units(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}
