//! Whether a body calls itself JSON.

use http::{HeaderMap, header};

use crate::problem::{Code, Problem};

/// Accepts `application/json` and `application/*+json`, in UTF-8 and not compressed.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |what: String| Err(Problem::new(Code::UnsupportedMediaType, what));
    let sent = match headers.get(header::CONTENT_TYPE) {
        Some(value) if value.as_bytes() == b"application/json" => "application/json",
        Some(value) => match value.to_str() {
            Ok(value) => value,
            Err(_) => return refuse("The Content-Type header is not text; send application/json.".to_owned()),
        },
        None => return refuse("The request has no Content-Type; send application/json.".to_owned()),
    };
    if !is_json(sent) {
        return refuse(format!("The Content-Type is {sent:?}; this route takes application/json."));
    }
    if let Some(charset) = charset(sent)
        && !charset.eq_ignore_ascii_case("utf-8")
        && !charset.eq_ignore_ascii_case("utf8")
    {
        return refuse(format!("The charset is {charset:?}; JSON is sent as utf-8."));
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            refuse(format!("The body is compressed ({coding:?}); send it without Content-Encoding."))
        }
        _ => Ok(()),
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    let suffix = subtype.rsplit_once('+').map_or(subtype, |(_, suffix)| suffix);
    kind.eq_ignore_ascii_case("application") && suffix.eq_ignore_ascii_case("json")
}

fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(content_type: Option<&str>, encoding: Option<&str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(value) = content_type {
            headers.insert(header::CONTENT_TYPE, value.parse().expect("a value"));
        }
        if let Some(value) = encoding {
            headers.insert(header::CONTENT_ENCODING, value.parse().expect("a value"));
        }
        require_json(&headers).err().map(|problem| problem.detail().to_owned())
    }

    #[test]
    fn json_by_all_its_names_is_taken() {
        for name in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/merge-patch+json",
        ] {
            assert_eq!(said(Some(name), None), None, "{name}");
        }
        assert_eq!(said(Some("application/json"), Some("identity")), None);
    }

    #[test]
    fn everything_else_is_told_what_was_sent_and_what_is_wanted() {
        let refused = [
            said(None, None),
            said(Some("text/plain"), None),
            said(Some("application/x-www-form-urlencoded"), None),
            said(Some("application/jsonp"), None),
            said(Some("application/json; charset=utf-16"), None),
            said(Some("application/json"), Some("gzip")),
        ];
        insta::assert_debug_snapshot!(refused);
    }
}
