//! How to start the program, and what became of a start that was refused.

use super::process::Server;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::process::{Child, Command};

/// Names the program to test instead of the one beside the test executable.
const PROGRAM_VARIABLE: &str = "LONGHAUL_BIN";

/// Why the harness could not do what it was told.
#[derive(Debug)]
pub struct HarnessError(String);

impl HarnessError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl std::fmt::Display for HarnessError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HarnessError {}

/// The program to run.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// The program named by `LONGHAUL_BIN`, else the `longhaul` in the target folder that this test was built into.
    ///
    /// # Errors
    /// When there is none, with the command that builds it.
    pub fn find() -> Result<Self, HarnessError> {
        if let Some(path) = std::env::var_os(PROGRAM_VARIABLE) {
            let path = PathBuf::from(path);
            return if path.is_file() {
                Ok(Self::at(&path))
            } else {
                Err(HarnessError::new(format!("{PROGRAM_VARIABLE} names {}, which is no file", path.display())))
            };
        }
        let test = std::env::current_exe().map_err(|e| HarnessError::new(format!("where am I: {e}")))?;
        // target/<profile>/deps/<test> stands one below the programs.
        let profile = test.parent().and_then(Path::parent);
        let path = profile.map(|folder| folder.join("longhaul")).filter(|path| path.is_file());
        path.map(|path| Self::at(&path)).ok_or_else(|| {
            HarnessError::new(format!(
                "the longhaul program is not built: run `cargo build -p longhaul`, or name one in {PROGRAM_VARIABLE}"
            ))
        })
    }

    /// The program at `path`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// A command with these arguments, without the `LONGHAUL…` variables of this process, and without input.
    #[must_use]
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LONGHAUL") {
                command.env_remove(name);
            }
        }
        command
    }
}

/// What a process left that ended by itself.
#[derive(Clone, Debug)]
pub struct Exit {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All it printed.
    pub stdout: String,
    /// All it complained.
    pub stderr: String,
}

/// How to start a server: where its data live, where it listens, what it is told.
#[derive(Clone, Debug)]
pub struct Launch {
    program: Program,
    home: PathBuf,
    data_dir: PathBuf,
    listen: String,
    config: Option<PathBuf>,
    variables: Vec<(String, String)>,
    ready_within: Duration,
}

impl Launch {
    /// A server of the found program, with its data in `home/data` and its output in `home`, on a free loopback port.
    ///
    /// # Errors
    /// When there is no program to run.
    pub fn new(home: &Path) -> Result<Self, HarnessError> {
        Ok(Self::of(Program::find()?, home))
    }

    /// The same with a program of your own.
    #[must_use]
    pub fn of(program: Program, home: &Path) -> Self {
        Self {
            program,
            home: home.to_owned(),
            data_dir: home.join("data"),
            listen: "127.0.0.1:0".to_owned(),
            config: None,
            variables: Vec::new(),
            ready_within: Duration::from_secs(20),
        }
    }

    /// Keeps the data in `data_dir`.
    #[must_use]
    pub fn data_dir(mut self, data_dir: &Path) -> Self {
        data_dir.clone_into(&mut self.data_dir);
        self
    }

    /// Listens at `address`, like `127.0.0.1:0`.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// Writes this configuration beside the data and starts with it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn config(mut self, toml: &str) -> Result<Self, HarnessError> {
        let path = self.home.join("longhaul.toml");
        std::fs::write(&path, toml).map_err(|e| HarnessError::new(format!("write {}: {e}", path.display())))?;
        self.config = Some(path);
        Ok(self)
    }

    /// Sets a variable in the server's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the server and waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// When it ends by itself or is not ready within 20 s, with the end of its output.
    pub async fn start(&self) -> Result<Server, HarnessError> {
        let (child, output) = self.spawn()?;
        Server::await_ready(child, output, self.ready_within).await
    }

    /// Starts a server that is expected to refuse, and waits for its end.
    ///
    /// # Errors
    /// When it is still running after `within`.
    pub async fn refused(&self, within: Duration) -> Result<Exit, HarnessError> {
        let (mut child, output) = self.spawn()?;
        let status = match tokio::time::timeout(within, child.wait()).await {
            Ok(status) => status.map_err(|e| HarnessError::new(format!("wait for the server: {e}")))?,
            Err(_) => return Err(HarnessError::new(format!("still running after {within:?}\n{}", output.tail()))),
        };
        let (stdout, stderr) = output.read();
        Ok(Exit { code: status.code(), stdout, stderr })
    }

    fn spawn(&self) -> Result<(Child, Output), HarnessError> {
        // Distinct per start, so that the output of a killed server is kept.
        static STARTS: AtomicU32 = AtomicU32::new(0);
        let number = STARTS.fetch_add(1, Ordering::Relaxed);
        let output = Output {
            stdout: self.home.join(format!("server-{number}.out")),
            stderr: self.home.join(format!("server-{number}.err")),
        };
        let create =
            |path: &Path| File::create(path).map_err(|e| HarnessError::new(format!("create {}: {e}", path.display())));
        let mut arguments: Vec<std::ffi::OsString> =
            vec!["serve".into(), "--listen".into(), self.listen.clone().into()];
        arguments.extend(["--data-dir".into(), self.data_dir.clone().into()]);
        if let Some(config) = &self.config {
            arguments.extend(["--config".into(), config.clone().into()]);
        }
        let mut command = self.program.command(&arguments);
        command.current_dir(&self.home);
        command.stdout(create(&output.stdout)?).stderr(create(&output.stderr)?);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let child = command.spawn();
        let child = child.map_err(|e| HarnessError::new(format!("start {}: {e}", self.program.path.display())))?;
        Ok((child, output))
    }
}

/// The files that a server's output goes to.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) stdout: PathBuf,
    pub(super) stderr: PathBuf,
}

impl Output {
    pub(super) fn read(&self) -> (String, String) {
        let read =
            |path: &Path| -> io::Result<String> { Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned()) };
        (read(&self.stdout).unwrap_or_default(), read(&self.stderr).unwrap_or_default())
    }

    /// The ends of both files, for a person.
    pub(super) fn tail(&self) -> String {
        const LINES_SHOWN: usize = 40;
        let last = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
        };
        let (stdout, stderr) = self.read();
        format!("--- stdout\n{}\n--- stderr\n{}\n---", last(&stdout), last(&stderr))
    }
}
