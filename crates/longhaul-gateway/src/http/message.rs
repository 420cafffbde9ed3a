//! The heads of messages: a request as it is written, an answer's as it is read.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use longhaul_providers::exchange::HttpRequest;

use super::endpoint::Endpoint;
use super::error::HttpError;
use super::framing::Framing;

/// The head of an answer; more than any provider sends.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;

/// A body up to this goes out in one piece with its head.
const COPIED_BODY_BYTES: usize = 16 * 1024;

/// A request as it stands on the wire.
pub(super) struct Outgoing {
    /// Line and headers, and a short body behind them.
    head: Vec<u8>,
    /// A long body.
    body: Bytes,
    is_head: bool,
}

impl Outgoing {
    pub(super) fn new(endpoint: &Endpoint, request: HttpRequest) -> Result<Self, HttpError> {
        let HttpRequest { method, path, headers, body } = request;
        // Whoever could write a line end here could write a request of their own.
        if let Some(bad) = path.bytes().find(|byte| !(0x21..=0x7e).contains(byte)) {
            return Err(HttpError::BadRequest(format!("its path has the byte {bad:#04x}")));
        }
        let copied = if body.len() <= COPIED_BODY_BYTES { body.len() } else { 0 };
        let known: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let mut head = Vec::with_capacity(known + path.len() + copied + 256);
        head.put_slice(method.as_str().as_bytes());
        head.put_u8(b' ');
        head.put_slice(endpoint.prefix().as_bytes());
        head.put_slice(path.as_bytes());
        head.put_slice(b" HTTP/1.1\r\n");
        field(&mut head, &HOST, endpoint.authority().as_bytes());
        // What is compressed would have to be bounded twice.
        field(&mut head, &ACCEPT_ENCODING, b"identity");
        for (name, value) in &headers {
            if ![HOST, ACCEPT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name) {
                field(&mut head, name, value.as_bytes());
            }
        }
        if !body.is_empty() || matches!(method, Method::POST | Method::PUT | Method::PATCH) {
            field(&mut head, &CONTENT_LENGTH, body.len().to_string().as_bytes());
        }
        head.put_slice(b"\r\n");
        let is_head = method == Method::HEAD;
        if copied == body.len() {
            head.put_slice(&body);
            return Ok(Self { head, body: Bytes::new(), is_head });
        }
        Ok(Self { head, body, is_head })
    }

    /// What is left when so many bytes are gone.
    pub(super) fn rest(&self, sent: usize) -> (&[u8], &[u8]) {
        match self.head.get(sent..) {
            Some(left) if !left.is_empty() => (left, &self.body),
            _ => (self.body.get(sent - self.head.len()..).unwrap_or_default(), &[]),
        }
    }

    /// Whether its answer has no body, whatever it says.
    pub(super) fn without_body(&self) -> bool {
        self.is_head
    }
}

fn field(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    head.put_slice(name.as_str().as_bytes());
    head.put_slice(b": ");
    head.put_slice(value);
    head.put_slice(b"\r\n");
}

/// The head of an answer, understood.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) parts: Parts,
    pub(super) framing: Framing,
    /// The connection may be used again after the body.
    pub(super) keeps: bool,
}

impl AnswerHead {
    /// Takes a head off the front, if a whole one is there. Heads that only say that there will be another are passed by.
    pub(super) fn take(unread: &mut BytesMut, without_body: bool) -> Result<Option<Self>, HttpError> {
        loop {
            if unread.is_empty() {
                return Ok(None);
            }
            let Some((parts, minor)) = parse(unread)? else { return Ok(None) };
            if parts.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(not_http("it changes the protocol, which was not asked for"));
            }
            if parts.status.is_informational() {
                continue;
            }
            return Self::judge(parts, minor, without_body).map(Some);
        }
    }

    fn judge(parts: Parts, minor: u8, without_body: bool) -> Result<Self, HttpError> {
        let says = |wanted: &str| {
            let values = parts.headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
        };
        let mut keeps = if minor == 0 { says("keep-alive") } else { !says("close") };
        let length = content_length(&parts.headers)?;
        let bodiless = without_body || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter().peekable();
        let framing = if bodiless {
            Framing::length(0)
        } else if codings.peek().is_some() {
            // Two lengths are an old trick; the chunks count, and nothing after them is believed.
            keeps &= length.is_none();
            match codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
                true => Framing::chunked(),
                false => return Err(not_http("it has a transfer encoding that was not asked for")),
            }
        } else if let Some(length) = length {
            Framing::length(length)
        } else {
            keeps = false;
            Framing::until_close()
        };
        Ok(Self { parts, framing, keeps })
    }
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, HttpError> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let text = value.to_str().unwrap_or_default().trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let read = if digits { text.parse::<u64>().ok() } else { None };
        match (read, length) {
            (None, _) => return Err(not_http("its content-length is no number")),
            (Some(read), Some(earlier)) if read != earlier => return Err(not_http("it has two lengths")),
            (Some(read), _) => length = Some(read),
        }
    }
    Ok(length)
}

/// A head off the front, with the minor version; its headers share one allocation.
fn parse(unread: &mut BytesMut) -> Result<Option<(Parts, u8)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let length = match answer.parse(unread) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(not_http(&error.to_string())),
    };
    let head = unread.split_to(length).freeze();
    // Once more over the bytes that the headers are to share: the first look borrowed the buffer.
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let _ = answer.parse(&head);
    let mut response = http::Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(answer.code.unwrap_or(0)).map_err(|error| not_http(&error.to_string()))?;
    *response.version_mut() = if answer.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let map = response.headers_mut();
    map.reserve(answer.headers.len());
    for header in answer.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|error| not_http(&error.to_string()))?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(header.value));
        map.append(name, value.map_err(|error| not_http(&error.to_string()))?);
    }
    Ok(Some((response.into_parts().0, answer.version.unwrap_or(1))))
}

fn not_http(why: &str) -> HttpError {
    HttpError::NotHttp(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<Option<AnswerHead>, HttpError> {
        AnswerHead::take(&mut BytesMut::from(text), false)
    }

    fn framing(headers: &str) -> Result<(Framing, bool), String> {
        match take(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")) {
            Ok(head) => head.map(|head| (head.framing, head.keeps)).ok_or_else(|| "partial".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn how_a_body_ends_follows_from_the_head() {
        assert_eq!(framing("content-length: 5\r\n"), Ok((Framing::length(5), true)));
        assert_eq!(framing("content-length: 5\r\ncontent-length: 5\r\n"), Ok((Framing::length(5), true)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok((Framing::chunked(), true)));
        assert_eq!(framing("connection: x, Close\r\ncontent-length: 1\r\n"), Ok((Framing::length(1), false)));
        assert_eq!(framing(""), Ok((Framing::until_close(), false)));
        assert_eq!(framing("transfer-encoding: chunked\r\ncontent-length: 5\r\n"), Ok((Framing::chunked(), false)));
        let old = take("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap().unwrap();
        assert!(!old.keeps, "the old version closes unless it says otherwise");
        assert_eq!(take("HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().framing, Framing::length(0));
    }

    #[test]
    fn two_lengths_and_strange_codings_are_refused() {
        for headers in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: +5\r\n",
            "content-length: 5, 5\r\n",
            "content-length: 99999999999999999999999\r\n",
            "transfer-encoding: gzip, chunked\r\n",
        ] {
            assert!(framing(headers).is_err_and(|error| error.contains("not HTTP")), "{headers}");
        }
        assert!(take("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n").is_err());
        assert!(take("SSH-2.0-OpenSSH_9.7\r\n").is_err());
    }

    #[test]
    fn a_head_is_taken_when_it_is_whole_and_hints_are_passed_by() {
        assert!(take("HTTP/1.1 200 OK\r\ncontent-le").unwrap().is_none());
        let mut unread = BytesMut::from(
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 429 Slow\r\nX-A: b\r\ncontent-length: 2\r\n\r\nhi",
        );
        let head = AnswerHead::take(&mut unread, false).unwrap().unwrap();
        assert_eq!((head.parts.status.as_u16(), &head.parts.headers["x-a"]), (429, &HeaderValue::from_static("b")));
        assert_eq!(&unread[..], b"hi");
    }

    #[test]
    fn nothing_in_a_path_can_begin_another_line() {
        let endpoint = Endpoint::parse("http://127.0.0.1/v1").unwrap();
        let request = |path: &str| HttpRequest {
            method: Method::POST,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
        };
        assert!(Outgoing::new(&endpoint, request("/a\r\nhost: evil")).is_err());
        assert!(Outgoing::new(&endpoint, request("/a b")).is_err());
        let fine = Outgoing::new(&endpoint, request("/a")).unwrap();
        let text = String::from_utf8(fine.rest(0).0.to_vec()).unwrap();
        let expected =
            "POST /v1/a HTTP/1.1\r\nhost: 127.0.0.1\r\naccept-encoding: identity\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(text, expected);
        assert_eq!(fine.rest(text.len()), (&b""[..], &b""[..]));
    }
}
