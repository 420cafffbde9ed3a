//! The reference page of the guide, made from the types, so that it cannot lag behind them.

use std::fmt::Write as _;

use super::schema::{SectionInfo, TARGETS, sections, target_section, variable};

const INTRODUCTION: &str = r#"# Configuration

<!-- Made from the types in crates/longhaul/src/config/settings.rs. To renew it:
     LONGHAUL_WRITE_REFERENCE=1 cargo test -p longhaul --test configuration_reference -->

Longhaul needs no configuration: without any it keeps its data in `./longhaul-data` and listens on
`127.0.0.1:8080`. What you do say can stand in four places, the later ones winning:

1. the defaults below,
2. a file: `--config FILE`, else `LONGHAUL_CONFIG`, else `longhaul.toml` in the working directory,
3. environment variables, one for every key that is no secret,
4. flags of `longhaul serve`.

`longhaul config check` prints every value with the place it came from, and everything that is wrong, at once.
Unknown keys and unknown `LONGHAUL__…` variables are refused.

**A running server** puts `[providers]` and `[models]` in force when the file has changed, within about three seconds, or on
SIGHUP; what breakers, limits, connections and caches of unchanged models hold is kept. The certificate of `[server] tls` is
read again when its files change. Everything else waits for a restart, and the log says so when it has changed. A file with
problems changes nothing; the log names them. A file that names no model any more is taken on SIGHUP or at a start only: it
may be half written. Write a new file beside the old one and rename it, or write it in one go.

**Lengths of time** are texts with units: `"250ms"`, `"30s"`, `"1h30m"`, `"7d"`. **Sizes** are `"64KiB"`, `"1MiB"`
(powers of 1024), `"1MB"` (powers of 1000) or a plain number of bytes. **Secrets** are never written into the file:
they are `{ env = "NAME" }` or `{ file = "path" }`. A **list** in a variable is separated by commas. A **name** in a
variable is written in capitals, with `_` for every character that a shell does not allow:
`LONGHAUL__KINDS__DOCUMENT_INGEST__TIMEOUT`.

Two variables stand outside the file because they hold a secret that is needed once: `LONGHAUL_BOOTSTRAP_KEY`, or
`LONGHAUL_BOOTSTRAP_KEY_FILE` with the path of a file, give the first administrator's key.

```toml
[server]
listen = "127.0.0.1:8080"
cors = { origins = ["https://app.example.com"] }

[store]
url = "sqlite:/var/lib/longhaul"
retention = "14d"

[queues.default]
concurrency = 256

[queues.ocr]
concurrency = 2

[kinds."document.ingest"]
queue = "ocr"
timeout = "30m"

[providers.openai]
api_key = { env = "OPENAI_API_KEY" }

[models.smart]
preset = "standard"
targets = [{ provider = "openai", model = "gpt-4o" }, { provider = "openai", model = "gpt-4o-mini" }]

[limits]
upload = "1GiB"

[telemetry]
log = "json"
```
"#;

/// The text of `docs/guide/configuration.md`.
#[must_use]
pub fn reference_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in sections() {
        write_section(&mut page, &section);
        if section.name == "models" {
            write_section(&mut page, &target_section());
        }
    }
    page
}

fn write_section(page: &mut String, section: &SectionInfo) {
    let is_list = section.name == TARGETS;
    let heading = match (is_list, section.named) {
        (true, _) => "[models.NAME.targets]".to_owned(),
        (false, true) => format!("{}.NAME", section.name),
        (false, false) => section.name.to_owned(),
    };
    let _ = write!(page, "\n## `[{heading}]`\n\n{}\n", section.about);
    for key in &section.keys {
        let name = section.named.then_some("NAME");
        let default = if key.default.is_empty() { "unset".to_owned() } else { format!("`{}`", key.default) };
        let _ = write!(
            page,
            "\n### `{}`\n\n{}\n\n- Value: {}\n- Default: {default}\n",
            key.path,
            key.about,
            key.form.replace('<', "&lt;"),
        );
        if is_list {
            continue;
        }
        let variable = variable(section.name, name, key.path);
        let _ = match (key.has_a_variable, key.in_a_variable) {
            (false, _) => writeln!(page, "- Variable: none; it is set in the file only"),
            (true, None) => writeln!(page, "- Variable: `{variable}`"),
            (true, Some(form)) => writeln!(page, "- Variable: `{variable}`, with {form}"),
        };
    }
}
