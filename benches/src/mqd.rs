//! The broker under test: built in release mode, started as a process of its own, asked for its metrics.

use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at whether it does.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A broker, running unless it was killed; killed when dropped.
pub struct Mqd {
    child: Child,
    program: PathBuf,
    /// Where it serves gRPC.
    pub grpc: SocketAddr,
    admin: SocketAddr,
    data_dir: PathBuf,
    /// What it writes to its standard output and error.
    log: PathBuf,
}

/// What it says about its rounds of writes, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rounds {
    /// How many there were: so many times it waited for the disk.
    pub count: f64,
    /// What they wrote.
    pub bytes: f64,
}

/// The target directory of the build that this program comes from.
///
/// # Errors
/// It was moved to somewhere else.
pub fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let target =
        program.ancestors().nth(3).filter(|_| program.parent().is_some_and(|dir| dir.ends_with("deps")));
    target.map(Path::to_owned).with_context(|| {
        format!("{} is not in target/<profile>/deps: run it with `cargo bench`", program.display())
    })
}

/// Builds the broker as it is shipped; quick if nothing has changed.
///
/// # Errors
/// It does not build.
pub fn build(target_dir: &Path) -> Result<PathBuf> {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "mqd", "--bin", "mqd", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir)
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "mqd does not build: {status}");
    Ok(target_dir.join("release").join("mqd"))
}

impl Mqd {
    /// Starts `program` on an empty directory below `dir` and returns when it accepts connections.
    ///
    /// # Errors
    /// It does not start; the message has what it wrote.
    pub fn start(program: &Path, dir: &Path) -> Result<Mqd> {
        let (grpc, admin) = (free_address()?, free_address()?);
        let (data_dir, log) = (dir.join("data"), dir.join("mqd.log"));
        let child = spawn(program, &data_dir, &log, grpc, admin)?;
        let mut mqd = Mqd { child, program: program.to_owned(), grpc, admin, data_dir, log };
        let began = Instant::now();
        while TcpStream::connect(grpc).is_err() {
            let ended = mqd.child.try_wait().context("cannot ask for the state of mqd")?;
            if ended.is_some() || began.elapsed() > START_LIMIT {
                let state = ended.map_or("still runs".to_owned(), |status| status.to_string());
                bail!("mqd ({state}) does not serve on {grpc}; it wrote:\n{}", mqd.words());
            }
            pause();
        }
        Ok(mqd)
    }

    /// Kills it (`kill -9`) and returns when it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill mqd")?;
        self.child.wait().context("cannot wait for the end of mqd")?;
        Ok(())
    }

    /// Starts it again, after [`Mqd::kill`], with the same data and addresses. Returns at once, before it serves.
    ///
    /// # Errors
    /// The system gives no process.
    pub fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&self.program, &self.data_dir, &self.log, self.grpc, self.admin)?;
        Ok(())
    }

    /// What it wrote to its standard output and error.
    pub fn words(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The rounds of writes so far, from its metrics.
    ///
    /// # Errors
    /// The metrics do not answer or do not have them.
    pub fn rounds(&self) -> Result<Rounds> {
        let mut stream = TcpStream::connect(self.admin).context("the admin port of mqd is closed")?;
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page).context("the metrics of mqd are not text")?;
        rounds_of(&page).with_context(|| format!("the metrics of mqd have no mq_round_bytes:\n{page}"))
    }

    /// The replicas in its data directory, those in the trash included.
    pub fn replicas_count(&self) -> usize {
        let count = |name| std::fs::read_dir(self.data_dir.join(name)).map_or(0, Iterator::count);
        count("quorums") + count("trash")
    }

    /// Waits until deleted replicas are gone from the disk and this many are left: what a measurement leaves behind
    /// must not be cleaned up during the next one.
    ///
    /// # Errors
    /// They do not go.
    pub fn wait_for_replicas_count(&self, count: usize) -> Result<()> {
        let began = Instant::now();
        while self.replicas_count() > count {
            let left = self.replicas_count();
            ensure!(began.elapsed() < START_LIMIT, "{left} replicas are on the disk, {count} should be left");
            pause();
        }
        Ok(())
    }
}

impl Drop for Mqd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rounds in the text of the metrics page.
pub fn rounds_of(page: &str) -> Option<Rounds> {
    let value = |name: &str| page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some(Rounds { count: value("mq_round_bytes_count ")?, bytes: value("mq_round_bytes_sum ")? })
}

fn spawn(program: &Path, data_dir: &Path, log: &Path, grpc: SocketAddr, admin: SocketAddr) -> Result<Child> {
    let output = File::options().create(true).append(true).open(log);
    let output = output.with_context(|| format!("cannot write {}", log.display()))?;
    Command::new(program)
        .arg("--data-dir")
        .arg(data_dir)
        .args(["--grpc-listen", &grpc.to_string(), "--admin-listen", &admin.to_string()])
        .args(["--peer-listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("cannot share the log file")?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// An address on loopback that nobody listens on now.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("loopback has no free port")?;
    listener.local_addr().context("a bound listener has an address")
}

#[expect(clippy::disallowed_methods, reason = "another process can only be looked at again and again")]
fn pause() {
    std::thread::sleep(LOOK_INTERVAL);
}
