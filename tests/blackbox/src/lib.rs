//! Nothing to import: this package is its tests. They drive the built program from outside and share no code with it.
