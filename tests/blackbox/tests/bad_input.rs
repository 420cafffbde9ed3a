//! What bad input gets: a problem that names what is wrong and why, and nothing lost.

mod body;
mod disk;
mod document;
