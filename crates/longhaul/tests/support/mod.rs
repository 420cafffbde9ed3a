//! What the command line's tests share: the built program, and a scripted server that speaks the HTTP contract.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

/// The built program in an empty environment and an empty directory.
pub struct Program {
    command: Command,
    stdin: Option<String>,
    _directory: tempfile::TempDir,
}

impl Program {
    pub fn new(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
        command.env_clear().current_dir(directory.path()).args(arguments);
        Self { command, stdin: None, _directory: directory }
    }

    /// Another argument.
    pub fn argument(mut self, argument: &Path) -> Self {
        self.command.arg(argument);
        self
    }

    /// Talks to the given server.
    pub fn to(mut self, server: &Fake) -> Self {
        self.command.env("LONGHAUL_URL", server.url());
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Writes a file into the directory the program runs in.
    pub fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self._directory.path().join(name), text).unwrap();
        self
    }

    pub fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.to_owned());
        self
    }

    pub fn run(mut self) -> Ran {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(self.stdin.unwrap_or_default().as_bytes()).unwrap();
        drop(stdin);
        Ran::new(child.wait_with_output().unwrap())
    }
}

/// `longhaul serve` on a free port in a directory; killed when the test ends without stopping it.
pub struct Served {
    child: Child,
    url: String,
    log: Lines<BufReader<ChildStderr>>,
    _out: Lines<BufReader<ChildStdout>>,
}

impl Served {
    /// Returns when it listens.
    pub fn start(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Self::command(directory, "127.0.0.1:0", arguments, variables).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = out.next().map(Result::unwrap).unwrap_or_default();
        let Some(url) = said.strip_prefix("listening on ").map(str::to_owned) else {
            let log: Vec<String> = log.map_while(Result::ok).collect();
            panic!("it does not listen: {said} {log:#?}");
        };
        Self { child, url, log, _out: out }
    }

    /// The command of a server that is to listen there.
    pub fn command(directory: &Path, listen: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
        command.env_clear().envs(variables.iter().copied()).current_dir(directory);
        command.args(["serve", "--listen", listen]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs a command of the program against this server, with a key or with none.
    pub fn ask(&self, key: &str, arguments: &[&str]) -> Ran {
        let program = Program::new(arguments).env("LONGHAUL_URL", &self.url);
        if key.is_empty() { program.run() } else { program.env("LONGHAUL_API_KEY", key).run() }
    }

    /// The next line of the log that holds these words. Waits for lines, not for time.
    pub fn wait_for(&mut self, words: &str) -> String {
        loop {
            let line = self.log.next().unwrap_or_else(|| panic!("the log ended without {words:?}")).unwrap();
            if line.contains(words) {
                return line;
            }
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it in good order; gives its end and what it logged since it was last read.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal(rustix::process::Signal::TERM);
        let log: Vec<String> = self.log.by_ref().map_while(Result::ok).collect();
        (self.child.wait().unwrap(), log.join("\n"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the program printed and how it ended.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn new(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Everything at once, for snapshots. The server's address changes from run to run and is taken out.
    pub fn whole(&self, server: Option<&Fake>) -> String {
        let mut text = format!("exit: {}\n", self.code);
        for (name, part) in [("stdout", &self.out), ("stderr", &self.err)] {
            if !part.is_empty() {
                text.push_str(&format!("--- {name}\n{part}"));
            }
        }
        match server {
            Some(server) => text.replace(&server.url(), "http://SERVER"),
            None => text,
        }
    }
}

/// A request as the fake server saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub line: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What the fake server does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answers with a status, extra headers and a JSON body.
    Json(u16, Vec<(&'static str, &'static str)>, String),
    /// Reads the request and closes the connection.
    HangUp,
}

pub fn json(status: u16, body: &str) -> Reply {
    Reply::Json(status, Vec::new(), body.to_owned())
}

type Script = HashMap<String, Vec<Reply>>;

/// Decides a reply from the request.
type Handler = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A server that answers from a script. For each request line (method and path, without the query) its replies are
/// given in order; the last one stays.
pub struct Fake {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<Script>>,
}

impl Fake {
    /// A server that answers 404 to everything that is not scripted.
    pub fn new() -> Self {
        let not_found = r#"{"title":"Not Found","status":404,"code":"not_found","detail":"no such thing"}"#;
        Self::answering(move |_| json(404, not_found))
    }

    /// A server that answers what is not scripted by a rule.
    pub fn answering(rule: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let rule: Handler = Arc::new(rule);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(Script::new()));
        let (seen_by, script_of) = (seen.clone(), script.clone());
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, script, rule) = (seen_by.clone(), script_of.clone(), rule.clone());
                std::thread::spawn(move || serve(stream, &seen, &script, &rule));
            }
        });
        Self { port, seen, script }
    }

    pub fn on(self, route: &str, reply: Reply) -> Self {
        self.script.lock().unwrap().entry(route.to_owned()).or_default().push(reply);
        self
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The request lines in order.
    pub fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

/// Answers the requests of one connection.
fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Seen>>, script: &Mutex<Script>, rule: &Handler) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer) {
        let route = request.line.split('?').next().unwrap().to_owned();
        seen.lock().unwrap().push(request.clone());
        let reply = {
            let mut script = script.lock().unwrap();
            match script.get_mut(&route) {
                Some(replies) if replies.len() > 1 => replies.remove(0),
                Some(replies) => replies[0].clone(),
                None => rule(&request),
            }
        };
        let Reply::Json(status, headers, body) = reply else { return };
        let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if stream.write_all(format!("{head}\r\n{body}").as_bytes()).is_err() {
            return;
        }
    }
}

fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let mut lines = head.split("\r\n");
            let line = lines.next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
            let headers: HashMap<String, String> = lines
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect();
            let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let body = String::from_utf8_lossy(&buffer[end + 4..end + 4 + length]).into_owned();
                buffer.drain(..end + 4 + length);
                return Some(Seen { line, headers, body });
            }
        }
        let mut chunk = [0; 16_384];
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}
