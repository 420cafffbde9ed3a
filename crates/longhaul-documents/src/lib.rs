//! Text out of documents: PDF, HTML, Markdown and plain text, and its chunks.
