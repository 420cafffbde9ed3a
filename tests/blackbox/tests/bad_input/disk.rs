//! A data directory that is not for this process: held by another, written by a newer version, no directory at all.

use crate::stage::{Stage, echo, submit, succeeded};
use longhaul_testkit::server::Exit;
use serde_json::json;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn complaint(exit: &Exit) -> &str {
    assert!(exit.code.is_some_and(|code| code != 0), "{exit:?}");
    assert!(!exit.stdout.contains("listening"), "{exit:?}");
    assert!(!exit.stderr.contains("panicked") && !exit.stderr.contains("RUST_BACKTRACE"), "{exit:?}");
    &exit.stderr
}

#[tokio::test]
async fn a_second_server_on_the_same_data_ends_with_a_clear_word() {
    let stage = Stage::open().await;
    let exit = stage.launch.refused(SOON).await.unwrap();
    let said = complaint(&exit);
    assert!(said.contains("another") || said.contains("in use") || said.contains("lock"), "{said}");
    assert!(said.contains(stage.data_dir().to_str().unwrap()), "the directory is named: {said}");
    let id = submit(&stage.client(), echo(json!("still mine"))).await;
    succeeded(&stage.client(), &id).await;
}

#[tokio::test]
async fn data_of_a_newer_version_are_refused_and_left_alone() {
    let mut stage = Stage::open().await;
    submit(&stage.client(), echo(json!(1))).await;
    stage.server.terminate().unwrap();
    stage.server.exited(SOON + SOON).await.unwrap();
    let database = sqlite_file(&stage.data_dir());
    let before = set_user_version(&database, 1_000_000);
    let exit = stage.launch.refused(SOON).await.unwrap();
    let said = complaint(&exit);
    assert!(said.contains("newer") || said.contains("version"), "{said}");
    let after = set_user_version(&database, before);
    assert_eq!(after, 1_000_000, "the refused data were changed");
    let server = stage.launch.start().await.unwrap();
    server.kill().await.unwrap();
}

#[tokio::test]
async fn a_data_directory_that_is_a_file_is_refused() {
    let stage = Stage::open().await;
    let path = stage.home().join("plain-file");
    std::fs::write(&path, "not a directory").unwrap();
    let exit = stage.launch.clone().data_dir(&path).refused(SOON).await.unwrap();
    assert!(complaint(&exit).contains("plain-file"), "{exit:?}");
}

#[tokio::test]
async fn a_configuration_with_an_unknown_key_is_refused_with_its_line() {
    let stage = Stage::open().await;
    let launch = stage.launch.clone().config("[server]\nlisten = \"127.0.0.1:0\"\nlisen = \"x\"\n").unwrap();
    let exit = launch.data_dir(&stage.home().join("other")).refused(SOON).await.unwrap();
    let said = complaint(&exit);
    assert!(said.contains("lisen") && said.contains("listen") && said.contains('3'), "{said}");
}

fn sqlite_file(folder: &Path) -> PathBuf {
    let is_sqlite = |path: &PathBuf| {
        let mut magic = [0; 16];
        std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
            && magic == *b"SQLite format 3\0"
    };
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).find(is_sqlite).expect("an SQLite file in the data directory")
}

/// Writes the field that SQLite keeps for applications at byte 60 of the header, and returns what it was.
fn set_user_version(database: &Path, version: u32) -> u32 {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(database).unwrap();
    let mut field = [0; 4];
    file.seek(SeekFrom::Start(60)).unwrap();
    file.read_exact(&mut field).unwrap();
    file.seek(SeekFrom::Start(60)).unwrap();
    file.write_all(&version.to_be_bytes()).unwrap();
    u32::from_be_bytes(field)
}
