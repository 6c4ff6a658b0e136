//! A running `mqd` on ports of its own. It is killed when the test lets go of it.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Nothing here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that serves.
pub(crate) struct Mqd {
    child: Child,
    /// Open as long as the process may write to it.
    _stdout: BufReader<ChildStdout>,
    log: PathBuf,
    /// Its ready line.
    pub(crate) ready: String,
    /// Where its API is.
    pub(crate) grpc: SocketAddr,
    /// Where its admin port is.
    pub(crate) admin: SocketAddr,
}

/// A directory for one test, on the real file system.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// `mqd` in this directory, on any ports, and without the environment of whoever runs the tests.
pub(crate) fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqd"));
    command.env_clear().arg("--data-dir").arg(directory.join("data"));
    for listener in ["GRPC", "PEER", "ADMIN"] {
        command.env(format!("MQ__{listener}__LISTEN"), "127.0.0.1:0");
    }
    command
}

/// Runs to the end: exit code, stdout, stderr.
pub(crate) fn output(mut command: Command) -> (Option<i32>, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

impl Mqd {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(directory: &Path, environment: &[(&str, &str)]) -> Mqd {
        let log = directory.join("mqd.log");
        let mut command = command(directory);
        command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = sync_channel(1);
        std::thread::spawn(move || {
            let mut ready = String::new();
            let read = stdout.read_line(&mut ready);
            let _ = sender.send((read.map(|_| ready), stdout));
        });
        let said = receiver.recv_timeout(PATIENCE).map(|(ready, stdout)| (ready.unwrap(), stdout));
        let Ok((ready, stdout)) = said else {
            child.kill().unwrap();
            panic!("not ready after {PATIENCE:?}: {}", std::fs::read_to_string(&log).unwrap());
        };
        let address = |after: &str| {
            let rest = ready.split(after).nth(1).and_then(|rest| rest.split(',').next());
            let address = rest.and_then(|address| address.parse().ok());
            address.unwrap_or_else(|| panic!("{ready:?}, {}", std::fs::read_to_string(&log).unwrap()))
        };
        let (grpc, admin) = (address("gRPC "), address("http://"));
        Mqd { child, _stdout: stdout, log, grpc, admin, ready }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: the exit code, none if a signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// A request to the admin port: the status and the body.
    pub(crate) fn http(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let (status, answer) = self.http_with_head(method, path, body);
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status, body.unwrap_or_else(|| panic!("no body in {answer:?}")))
    }

    /// The same, with the whole answer.
    pub(crate) fn http_with_head(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: mq\r\nconnection: close\r\n");
        let length = body.len();
        write!(stream, "{head}content-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("no status in {answer:?}")), answer)
    }
}

impl Drop for Mqd {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
