//! The reference of error codes as Markdown, generated from [`Code`] so that it cannot drift.

use std::fmt::Write as _;

use super::Code;

/// The text of `docs/errors.md`.
pub fn errors_markdown() -> String {
    let mut page = String::from(
        "# Errors\n\n\
         <!-- Generated from the server's list of codes. To regenerate: UPDATE=1 cargo test -p longhaul-server \
         errors_page -->\n\n\
         Every refused or failed request is answered with `application/problem+json` (RFC 9457). Branch on `code`: \
         the list below is closed, codes are added but never renamed. `retryable` says whether the same request may \
         succeed later, unchanged; 429, 503 and 507 carry `Retry-After`. A running server shows this page at \
         `/docs/errors`.\n\n\
         ```json\n\
         {\n  \"type\": \"/docs/errors#invalid_request\",\n  \"title\": \"Invalid request\",\n  \"status\": 422,\n  \
         \"detail\": \"/priority is 500; the most it can be is 100.\",\n  \"instance\": \"/v1/jobs\",\n  \
         \"code\": \"invalid_request\",\n  \"request_id\": \"req_4f1c…\",\n  \"retryable\": false,\n  \
         \"errors\": [{ \"pointer\": \"/priority\", \"message\": \"is 500; the most it can be is 100\" }]\n}\n\
         ```\n\n\
         | code | status | try again | meaning |\n| --- | --- | --- | --- |\n",
    );
    for &code in Code::ALL {
        let again = if code.retryable() { "yes" } else { "no" };
        let _infallible = writeln!(
            page,
            "| <a id=\"{name}\"></a>`{name}` | {} | {again} | {} |",
            code.status().as_u16(),
            code.doc().trim(),
            name = code.as_str(),
        );
    }
    page
}
