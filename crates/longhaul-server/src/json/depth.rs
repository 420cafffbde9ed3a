//! How deep JSON is nested, told before it is parsed.

/// Levels of arrays and objects that a request body may have.
pub const MAX_DEPTH: usize = 64;

/// Whether the text nests arrays and objects deeper than `max`. Brackets within strings do not count. The text need
/// not be valid JSON: what is malformed is the parser's to say.
pub(super) fn is_deeper_than(json: &[u8], max: usize) -> bool {
    // Nothing can be nested deeper than it has opening brackets, and their number settles nearly every body. Counted
    // in bytes per block, the compiler compares many at once; `[` and `{` differ in one bit only.
    let in_block = |block: &[u8]| block.iter().fold(0_u8, |count, byte| count + u8::from(byte | 0x20 == b'{'));
    let opening: usize = json.chunks(128).map(|block| usize::from(in_block(block))).sum();
    opening > max && scan(json, max)
}

fn scan(json: &[u8], max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn the_limit_itself_is_allowed_and_one_more_is_not() {
        assert!(!is_deeper_than(nested(64).as_bytes(), 64));
        assert!(is_deeper_than(nested(65).as_bytes(), 64));
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        let text = serde_json::json!({ "a": "[".repeat(100), "b": format!("\\\"{}", "{".repeat(100)) }).to_string();
        assert!(!is_deeper_than(text.as_bytes(), 64));
    }

    #[test]
    fn many_siblings_are_not_deep() {
        let text = format!("[{}[]]", "[],".repeat(1000));
        assert!(!is_deeper_than(text.as_bytes(), 2));
        assert!(is_deeper_than(text.as_bytes(), 1));
    }

    fn depth_of(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
            serde_json::Value::Object(fields) => 1 + fields.values().map(depth_of).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = "[\\[\\]{}\"\\\\a]{0,8}".prop_map(serde_json::Value::String);
        leaf.prop_recursive(8, 64, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::Array),
                proptest::collection::vec(("[\\[{\"]{0,3}", inner), 0..4)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_scan_agrees_with_the_parsed_depth(value in any_json(), max in 0_usize..8) {
            prop_assert_eq!(is_deeper_than(value.to_string().as_bytes(), max), depth_of(&value) > max);
        }
    }
}
