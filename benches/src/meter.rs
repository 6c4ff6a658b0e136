//! What processes used of the machine while something was measured, and what everybody else used.
//!
//! All of it comes from `/proc`, in clock ticks (10 ms on most machines): measure for a second or more.

use anyhow::{Context, Result};
use std::fs;
use std::time::{Duration, Instant};

/// A measured window, begun and not yet ended.
pub struct Meter {
    began: Instant,
    /// What all processes had used.
    machine_ticks: u64,
    /// What each of ours had used, this process last.
    ours_ticks: Vec<(u32, u64)>,
}

/// What was used in a window.
#[derive(Clone, Debug)]
pub struct Usage {
    /// How long the window was.
    pub wall: Duration,
    /// Time on a processor, user and system, of the processes asked for, in their order.
    pub cpu: Vec<Duration>,
    /// Time on a processor that neither they nor this process had. The kernel's own threads, which write to the disk
    /// on our behalf, are among it.
    pub elsewhere: Duration,
}

impl Meter {
    /// Begins a window over these processes.
    ///
    /// # Errors
    /// One of them is gone.
    pub fn start(processes: &[u32]) -> Result<Meter> {
        let pids = processes.iter().copied().chain([std::process::id()]);
        let ours_ticks = pids.map(|pid| Ok((pid, process_ticks(pid)?))).collect::<Result<_>>()?;
        Ok(Meter { began: Instant::now(), machine_ticks: machine_ticks()?, ours_ticks })
    }

    /// Ends it.
    ///
    /// # Errors
    /// One of the processes ended meanwhile.
    pub fn stop(self) -> Result<Usage> {
        let wall = self.began.elapsed();
        let machine_ticks = machine_ticks()?.saturating_sub(self.machine_ticks);
        let mut ours_ticks = Vec::new();
        for (pid, before) in &self.ours_ticks {
            ours_ticks.push(process_ticks(*pid)?.saturating_sub(*before));
        }
        let elsewhere = duration(machine_ticks.saturating_sub(ours_ticks.iter().sum()));
        ours_ticks.pop(); // this process
        Ok(Usage { wall, cpu: ours_ticks.into_iter().map(duration).collect(), elsewhere })
    }
}

/// The most memory that a process had at once since it began or since [`forget_peak`], in bytes.
///
/// # Errors
/// The process is gone.
pub fn peak_bytes(pid: u32) -> Result<u64> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("the process status has no VmHWM")?.parse().context("VmHWM is no number")?;
    Ok(kib << 10)
}

/// Begins the peak of a process anew from what it has now.
///
/// # Errors
/// The process is gone, or not ours.
pub fn forget_peak(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").with_context(|| format!("cannot write to {path}"))
}

/// User and system time in the text of `/proc/<pid>/stat`, in ticks. The name of the process, in brackets, may hold
/// anything.
pub fn ticks_of_process(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// What all processes and the hypervisor used, in the text of `/proc/stat`, in ticks. Time in interrupts is left out:
/// most of it is the traffic that is being measured, and no process is charged for it.
pub fn ticks_of_machine(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = fields.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    let &[user, nice, system, _idle, _iowait, _irq, _softirq, steal, ..] = &fields[..] else { return None };
    Some(user + nice + system + steal)
}

fn process_ticks(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    ticks_of_process(&read(&path)?).with_context(|| format!("{path} is not as proc(5) says"))
}

fn machine_ticks() -> Result<u64> {
    ticks_of_machine(&read("/proc/stat")?).context("/proc/stat is not as proc(5) says")
}

fn duration(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}: has the process ended?"))
}
