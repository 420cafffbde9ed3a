//! An `ExportTraceServiceRequest` of OTLP 1, in protocol buffers.
//!
//! The numbers of the fields are those of `opentelemetry/proto/trace/v1/trace.proto` and its neighbours, which are stable:
//! they will never mean anything else. Only what is told here is written.

use longhaul_core::Timestamp;
use longhaul_server::spans::{Attribute, Span, SpanEvent, SpanKind, Value};

/// The name of the instrumentation: this program itself.
const SCOPE: &str = "longhaul";

/// The body of a request with these spans.
pub(super) fn request(resource: &[(String, String)], spans: &[Span]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |told| {
            resource.iter().fold(told, |told, (key, value)| {
                told.message(1, |pair| pair.text(1, key).message(2, |any| any.text(1, value)))
            })
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| scope.text(1, SCOPE));
            spans.iter().fold(scope_spans, |scope_spans, span| scope_spans.message(2, |told| write_span(told, span)))
        })
    });
    request.0
}

fn write_span<'m>(told: &'m mut Message, span: &Span) -> &'m mut Message {
    let Span { context, parent, name, kind, began, ended, attributes, events, error } = span;
    told.bytes(1, &context.trace_id.to_be_bytes()).bytes(2, &context.span_id.to_be_bytes());
    if let Some(parent) = parent {
        told.bytes(4, &parent.to_be_bytes());
    }
    let kind = match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Consumer => 5,
    };
    told.text(5, name).number(6, kind).fixed64(7, nanos(*began)).fixed64(8, nanos(*ended));
    write_attributes(told, 9, attributes);
    for SpanEvent { at, name, attributes } in events {
        told.message(11, |event| write_attributes(event.fixed64(1, nanos(*at)).text(2, name), 3, attributes));
    }
    if let Some(error) = error {
        told.message(15, |status| status.text(2, error).number(3, 2));
    }
    // Which of W3C's flags the trace has.
    told.fixed32(16, context.flags.into())
}

fn write_attributes<'m>(told: &'m mut Message, field: u32, attributes: &[Attribute]) -> &'m mut Message {
    attributes.iter().fold(told, |told, (key, value)| {
        told.message(field, |pair| pair.text(1, key).message(2, |any| write_value(any, value)))
    })
}

fn write_value<'m>(any: &'m mut Message, value: &Value) -> &'m mut Message {
    match value {
        Value::Text(text) => any.text(1, text),
        Value::Bool(is) => any.number(2, (*is).into()),
        Value::Int(number) => any.number(3, number.cast_unsigned()),
        Value::Float(number) => any.fixed64(4, number.to_bits()),
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(0).saturating_mul(1_000)
}

/// How a field is written, in its key.
#[derive(Clone, Copy)]
enum Form {
    Varint = 0,
    Fixed64 = 1,
    Length = 2,
    Fixed32 = 5,
}

/// A message in the making.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u32, form: Form) {
        self.varint(u64::from(field << 3 | form as u32));
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn number(&mut self, field: u32, number: u64) -> &mut Self {
        self.key(field, Form::Varint);
        self.varint(number);
        self
    }

    fn fixed64(&mut self, field: u32, number: u64) -> &mut Self {
        self.key(field, Form::Fixed64);
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn fixed32(&mut self, field: u32, number: u32) -> &mut Self {
        self.key(field, Form::Fixed32);
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        self.key(field, Form::Length);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(&mut self, field: u32, text: &str) -> &mut Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(&mut self, field: u32, write: impl for<'m> FnOnce(&'m mut Message) -> &'m mut Message) -> &mut Self {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0)
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::TraceContext;

    use super::*;

    /// What OpenTelemetry's own Python library (opentelemetry-proto) writes for the same request.
    const BY_THE_OFFICIAL_LIBRARY: &str = include_str!("request.hex");

    fn span() -> Span {
        let at = |micros: i64| Timestamp::from_micros(1_767_225_600_000_000 + micros);
        Span {
            context: TraceContext { trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, span_id: 7, flags: 1 },
            parent: Some(0xb7ad_6b71_6920_3331),
            name: "chat smart".into(),
            kind: SpanKind::Client,
            began: at(0),
            ended: at(1_500_000),
            attributes: vec![
                ("gen_ai.request.model", "gpt-4o".into()),
                ("longhaul.attempts", Value::Int(-3)),
                ("longhaul.part", Value::Float(0.25)),
                ("longhaul.degraded", true.into()),
            ],
            events: vec![SpanEvent { at: at(9), name: "noted".into(), attributes: vec![("n", Value::Int(300))] }],
            error: Some("provider_timeout".into()),
        }
    }

    #[test]
    fn a_request_is_byte_for_byte_what_the_official_library_writes() {
        let resource = [("service.name".to_owned(), "longhaul".to_owned())];
        let written: String = request(&resource, &[span()]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, BY_THE_OFFICIAL_LIBRARY.trim());
    }
}
