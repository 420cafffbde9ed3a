//! Places in a body: as OpenAI writes them, and as the rest of the API does.

use longhaul_engine::FieldError;
use longhaul_providers::facade::RequestError;

/// What is wrong with an input, with its place as a JSON Pointer.
pub(crate) fn field_error(error: &RequestError) -> FieldError {
    FieldError {
        pointer: error.param.as_deref().map(pointer_of).unwrap_or_default(),
        message: format!("cannot be used: {}", error.message),
    }
}

/// `messages[2].content[0].type` as `/messages/2/content/0/type`.
fn pointer_of(param: &str) -> String {
    let mut pointer = String::with_capacity(param.len() + 4);
    for name in param.split(['.', '[']) {
        pointer.push('/');
        let name = name.strip_suffix(']').unwrap_or(name);
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_pointer() {
        assert_eq!(pointer_of("model"), "/model");
        assert_eq!(pointer_of("messages[2].content[0].type"), "/messages/2/content/0/type");
        assert_eq!(pointer_of("input[0][1]"), "/input/0/1");
    }
}
