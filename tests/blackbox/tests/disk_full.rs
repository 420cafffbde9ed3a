//! A disk that is full: 507 and nothing lost; reads go on; it recovers by itself once there is room.

use crate::stage::problem;
use longhaul_testkit::history::{Demands, Recorder, check, read};
use longhaul_testkit::load::{Outcome, Submission, Witness};
use longhaul_testkit::server::Launch;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DISK: &str = "24m";

/// A small file system of its own, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|e| e.to_string())?;
        let options = format!("size={DISK}");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "longhaul-test"]).arg(at).output();
        let output = output.map_err(|e| format!("mount: {e}"))?;
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(Self(at.to_owned())) } else { Err(complaint) }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy: a server that is just being killed may still hold it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_work_loses_none_and_recovers_by_itself() {
    let home = tempfile::tempdir().unwrap();
    let disk = match SmallDisk::mount(&home.path().join("disk")) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("SKIPPED, nothing was shown: a small disk cannot be mounted here ({reason}); run as root");
            return;
        }
    };
    let history = home.path().join("history.ndjson");
    let witness = Witness::new(Recorder::open(&history).unwrap());
    let launch = Launch::new(home.path()).unwrap().data_dir(&disk.0.join("data"));
    let server = launch.start().await.unwrap();
    let client = server.client();

    // Most of the room goes to a file that can be taken away again.
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![7; 14 << 20]).unwrap();
    let mut accepted = Vec::new();
    let mut refusal = None;
    for number in 0..3_000 {
        let job = Submission::echo("default", &format!("full-{number}"), 30_000);
        match witness.submit(&client, &job).await.unwrap() {
            Outcome::Done(id) => accepted.push(id),
            Outcome::Refused(reason) => {
                refusal = Some(reason);
                break;
            }
            Outcome::Unknown(reason) => panic!("a full disk is no reason not to answer: {reason}"),
        }
    }
    let refusal = refusal.expect("the disk never became full");
    assert!(refusal.starts_with("507"), "{refusal}");
    assert!(accepted.len() > 20, "full after {} jobs", accepted.len());

    let large = json!({"kind": "echo", "input": "x".repeat(60_000)});
    let reply = client.post("/v1/jobs").json(&large).send().await.unwrap();
    problem(&reply, 507, "storage_full");
    for path in [format!("/v1/jobs/{}", accepted[0]), "/v1/jobs?limit=5".into(), "/livez".into(), "/v1/queues".into()] {
        let reply = client.get(&path).send().await.unwrap();
        assert_eq!(reply.status, 200, "reads go on: {path}: {reply}");
    }

    std::fs::remove_file(&ballast).unwrap();
    let mut recovered = None;
    for number in 0..100 {
        let job = Submission::echo("default", &format!("after-{number}"), 30_000);
        if let Outcome::Done(id) = witness.submit(&client, &job).await.unwrap() {
            recovered = Some(id);
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let recovered = recovered.expect("no job was accepted within ten seconds after room was made");
    crate::stage::succeeded(&client, &recovered).await;
    accepted.push(recovered);

    server.kill().await.unwrap();
    witness.restarted().await.unwrap();
    let server = launch.start().await.unwrap();
    for id in &accepted {
        crate::stage::succeeded(&server.client(), id).await;
        witness.look(&server.client(), "default", id).await.unwrap();
    }
    let verdict = check(&read(&history).unwrap(), Demands::COMPLETE);
    println!("{} accepted before the disk was full; {verdict}", accepted.len() - 1);
    assert!(verdict.is_clean(), "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_the_full_disk_ends_nothing() {
    let home = tempfile::tempdir().unwrap();
    let disk = match SmallDisk::mount(&home.path().join("disk")) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("SKIPPED, nothing was shown: a small disk cannot be mounted here ({reason}); run as root");
            return;
        }
    };
    // Data and log lie side by side, as they do where nobody has thought of it.
    let server = Launch::new(&disk.0).unwrap().start().await.unwrap();
    let client = server.client();
    let ballast = disk.0.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[7; 4_096]).is_ok() {}
    // A file that is open keeps its room.
    drop(file);
    let job = json!({"kind": "echo", "input": "x".repeat(30_000)});
    for _ in 0..3 {
        let reply = client.post("/v1/jobs").json(&job).send().await.unwrap();
        problem(&reply, 507, "storage_full");
    }
    std::fs::remove_file(&ballast).unwrap();
    for _ in 0..100 {
        let reply = client.post("/v1/jobs").json(&job).send().await.unwrap();
        if reply.status == 202 {
            crate::stage::succeeded(&client, &crate::stage::job_id(&reply)).await;
            return;
        }
        problem(&reply, 507, "storage_full");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no job was accepted within ten seconds after room was made\n{}", server.log_tail());
}
