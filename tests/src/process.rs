//! A broker as a process of its own, on a directory of the real file system.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// How long a broker may take until it serves. It takes far less; this only ends a hung test.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The ports that brokers under test listen on.
const FIRST_PORT: u16 = 20_000;
const PORTS: u32 = 12_000;

/// A running broker; killed when dropped.
pub struct Mqd {
    child: Child,
    /// Where it serves gRPC.
    pub grpc: SocketAddr,
    /// Where it serves admin HTTP.
    pub admin: SocketAddr,
    log: PathBuf,
}

/// Where the programs under test are: `MQ_BIN_DIR`, or beside this test's own program.
pub fn program(name: &str) -> PathBuf {
    let dir = std::env::var_os("MQ_BIN_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let own = std::env::current_exe().expect("a process knows its program");
        own.parent().and_then(Path::parent).expect("tests run from target/<profile>/deps").to_owned()
    });
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: build it first (cargo build --bins)", path.display());
    path
}

/// A directory on the real file system, removed when dropped.
pub fn scratch() -> tempfile::TempDir {
    let target = std::env::current_exe().expect("a process knows its program");
    let target = target
        .ancestors()
        .find(|dir| dir.ends_with("target"))
        .map_or_else(std::env::temp_dir, Path::to_owned);
    let tmp = target.join("tmp");
    std::fs::create_dir_all(&tmp).expect("the target directory is writable");
    tempfile::tempdir_in(tmp).expect("the target directory is writable")
}

/// An address on loopback that nobody listens on now. Never the same one twice in a process, and below the ports that
/// the system gives to outgoing connections, so that none of those takes it before the broker does.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        // Test programs that run at the same time begin at different places.
        let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(101));
        let port = FIRST_PORT + (step % PORTS) as u16;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("a bound listener has an address");
        }
    }
    panic!("every port of {PORTS} from {FIRST_PORT} on is taken");
}

/// The command that starts a broker on this directory, with addresses of its own.
pub fn command(data_dir: &Path, grpc: SocketAddr, admin: SocketAddr) -> Command {
    let mut command = Command::new(program("mqd"));
    command
        .arg("--data-dir")
        .arg(data_dir)
        .args(["--grpc-listen", &grpc.to_string(), "--admin-listen", &admin.to_string()])
        .args(["--peer-listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .env_remove("MQ_BROKERS");
    command
}

impl Mqd {
    /// Starts a broker on this directory and returns when its port is open.
    pub fn start(data_dir: &Path) -> Mqd {
        Mqd::start_at(data_dir, free_address(), free_address())
    }

    /// As [`Mqd::start`], at given addresses.
    pub fn start_at(data_dir: &Path, grpc: SocketAddr, admin: SocketAddr) -> Mqd {
        Mqd::start_by(command(data_dir, grpc, admin), data_dir, grpc, admin)
    }

    /// As [`Mqd::start_at`], by another command, whose process becomes the broker.
    pub fn start_by(mut command: Command, data_dir: &Path, grpc: SocketAddr, admin: SocketAddr) -> Mqd {
        let log = data_dir.with_extension("log");
        let file =
            File::options().create(true).append(true).open(&log).expect("the scratch directory is writable");
        let child = command
            .stdout(file.try_clone().expect("a file handle can be cloned"))
            .stderr(file)
            .spawn()
            .expect("mqd starts");
        let mut mqd = Mqd { child, grpc, admin, log };
        let begun = Instant::now();
        while TcpStream::connect(grpc).is_err() {
            if let Some(status) = mqd.child.try_wait().expect("a child can be asked") {
                panic!("mqd ended with {status} before it served; its log:\n{}", mqd.log());
            }
            assert!(begun.elapsed() < START_LIMIT, "mqd does not serve; its log:\n{}", mqd.log());
            pause();
        }
        mqd
    }

    /// What it wrote to its terminal since its directory was made.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A channel to it.
    pub async fn channel(&self) -> Channel {
        let endpoint =
            Channel::from_shared(format!("http://{}", self.grpc)).expect("an address is a valid URI");
        endpoint.connect().await.expect("the broker accepts connections")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had so far, in bytes (VmHWM: what the kernel counted as resident).
    pub fn memory_peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib << 10
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// `kill -9`: it gets no chance to do anything.
    pub fn kill(&mut self) {
        self.child.kill().expect("a running child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .expect("a running child can be signalled");
        self.wait_for_end()
    }

    /// Waits until it has ended.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            assert!(begun.elapsed() < START_LIMIT, "mqd does not stop; its log:\n{}", self.log());
            pause();
        }
    }

    /// Gets a page of the admin port: status line and body.
    pub fn admin_get(&self, path: &str) -> (String, String) {
        use std::io::Write;
        let mut stream = TcpStream::connect(self.admin).expect("the admin port is open");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("it reads");
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        reader.read_line(&mut status).expect("it answers");
        let mut rest = String::new();
        reader.read_to_string(&mut rest).expect("it answers in UTF-8");
        let body = rest.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned());
        (status.trim().to_owned(), body)
    }
}

impl Drop for Mqd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits a little between two looks at another process.
#[expect(clippy::disallowed_methods, reason = "another process can only be looked at again and again")]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}
