//! Rows turned into columns: how many rows travel in one statement.

/// Makes a row type and the columns of many such rows, each an array parameter, in the order of the fields.
macro_rules! columns {
    ($columns:ident of $row:ident { $($field:ident: $type:ty),* $(,)? }) => {
        pub(super) struct $row<'a> {
            $(pub(super) $field: $type,)*
            pub(super) lifetime: std::marker::PhantomData<&'a ()>,
        }

        #[derive(Default)]
        pub(super) struct $columns<'a> {
            $($field: Vec<$type>,)*
            rows: usize,
            lifetime: std::marker::PhantomData<&'a ()>,
        }

        impl<'a> $columns<'a> {
            pub(super) fn push(&mut self, row: $row<'a>) {
                $(self.$field.push(row.$field);)*
                self.rows += 1;
            }

            pub(super) fn rows(&self) -> usize {
                self.rows
            }

            pub(super) fn parameters(&self) -> Vec<$crate::postgres::session::Parameter<'_>> {
                vec![$(&self.$field),*]
            }
        }
    };
}

pub(super) use columns;
