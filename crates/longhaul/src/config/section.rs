//! A section of the configuration as a Rust type that knows its own keys.
//!
//! The [`section!`] macro writes the type once: field, name in the file, type, default and doc text. Reading, refusing
//! unknown keys, environment names, the effective listing and the reference page all come from that one place, so they
//! cannot disagree.

use super::reader::{Reader, SectionPath};

/// What is known of one key without any configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name within the section; dots lead into tables.
    pub path: &'static str,
    /// What it is for.
    pub about: String,
    /// What to write.
    pub form: &'static str,
    /// The default as TOML; empty when the key is then unset.
    pub default: String,
    /// Whether a variable can set it.
    pub has_a_variable: bool,
    /// What to write in a variable, where that differs from the file.
    pub in_a_variable: Option<&'static str>,
}

/// A group of keys that are read together.
pub trait Section: Default {
    /// What the section is for.
    fn about() -> String;
    /// Its keys, in the order of the reference page.
    fn keys() -> Vec<KeyInfo>;
    /// Reads every key. A value that cannot be used is reported to the reader and replaced by its default.
    fn read(reader: &mut Reader<'_>, section: &SectionPath) -> Self;
}

/// Joins the lines of a doc comment to one paragraph.
pub(super) fn paragraph(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

macro_rules! section {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])* $field:ident ($path:literal): $type:ty = $default:expr; )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::config::section::Section for $name {
            fn about() -> String {
                $crate::config::section::paragraph(&[$($about),*])
            }

            fn keys() -> Vec<$crate::config::section::KeyInfo> {
                use $crate::config::setting::Setting;
                let default = Self::default();
                vec![$( $crate::config::section::KeyInfo {
                    path: $path,
                    about: $crate::config::section::paragraph(&[$($doc),*]),
                    form: <$type as Setting>::FORM,
                    default: default.$field.to_toml(),
                    has_a_variable: <$type as Setting>::HAS_A_VARIABLE,
                    in_a_variable: <$type as Setting>::IN_A_VARIABLE,
                } ),*]
            }

            fn read(
                reader: &mut $crate::config::reader::Reader<'_>,
                section: &$crate::config::reader::SectionPath,
            ) -> Self {
                let default = Self::default();
                Self { $( $field: reader.read(section, $path, default.$field), )* }
            }
        }
    };
}

pub(super) use section;
