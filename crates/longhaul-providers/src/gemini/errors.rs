//! Errors as Google writes them: `{"error":{"code","message","status","details":[…]}}`, at times inside a list.

use serde::Deserialize;

use crate::error::{VendorError, with_units};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Outer {
    error: Option<Inner>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Inner {
    message: Option<String>,
    status: Option<String>,
    details: Option<Vec<Detail>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    reason: Option<String>,
    retry_delay: Option<String>,
    violations: Option<Vec<Violation>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Violation {
    quota_id: Option<String>,
}

/// Takes an error out of a body; what is no such thing says nothing.
pub(super) fn vendor_error(body: &[u8]) -> VendorError {
    let outer: Outer = serde_json::from_slice(body)
        .or_else(|_| serde_json::from_slice::<Vec<Outer>>(body).map(|list| list.into_iter().next().unwrap_or_default()))
        .unwrap_or_default();
    outer.error.map(from_inner).unwrap_or_default()
}

pub(super) fn from_inner(inner: Inner) -> VendorError {
    let mut vendor = VendorError { kind: inner.status, message: inner.message, ..VendorError::default() };
    for detail in inner.details.unwrap_or_default() {
        vendor.code = vendor.code.or(detail.reason);
        vendor.retry_after = vendor.retry_after.or(detail.retry_delay.as_deref().and_then(with_units));
        let daily = detail.violations.unwrap_or_default().into_iter().filter_map(|violation| violation.quota_id);
        if daily.into_iter().any(|quota| quota.contains("PerDay")) {
            // The delay that is told beside it is that of the minute, and trying again would meet the day's end.
            vendor.code = Some("insufficient_quota".to_owned());
        }
    }
    vendor
}
