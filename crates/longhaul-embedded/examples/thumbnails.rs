//! Durable jobs in one program: `cargo run -p longhaul-embedded --example thumbnails`.
//!
//! Kill it in the middle and start it again: it goes on with what was not done.

use longhaul_embedded::{Failure, Longhaul};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Picture {
    name: String,
}

async fn thumbnail(picture: Picture) -> Result<String, Failure> {
    // Stands for the real work.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    Ok(format!("{}.thumb.png", picture.name))
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join("longhaul-thumbnails");
    let longhaul = Longhaul::builder(directory).concurrency(4).handle("thumbnail", thumbnail).start().await?;
    let mut jobs = Vec::new();
    for number in 0..20 {
        jobs.push(longhaul.submit("thumbnail", &Picture { name: format!("picture-{number}") }).await?);
    }
    for job in jobs {
        println!("{}", longhaul.result::<String>(job).await?);
    }
    longhaul.shutdown().await;
    Ok(())
}
