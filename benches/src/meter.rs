//! What processes used of the machine while something was measured, and what everybody else used.
//!
//! All of it comes from `/proc`, in clock ticks (10 ms on most machines): measure for a second or more.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// The flag of a kernel thread in `/proc/<pid>/stat` (PF_KTHREAD).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A measured window, begun and not yet ended.
pub struct Meter {
    began: Instant,
    /// What all processes had used.
    machine_ticks: u64,
    /// What each of the kernel's own threads had used.
    kernel_ticks: BTreeMap<u32, u64>,
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
    /// Time on a processor that neither they, nor this process, nor the kernel's own threads had: those write to the
    /// disk on our behalf.
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
        Ok(Meter {
            began: Instant::now(),
            machine_ticks: machine_ticks()?,
            kernel_ticks: kernel_ticks()?,
            ours_ticks,
        })
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
        let kernel_ticks = kernel_ticks()?.into_iter().map(|(thread, ticks)| {
            ticks.saturating_sub(self.kernel_ticks.get(&thread).copied().unwrap_or_default())
        });
        let known_ticks = ours_ticks.iter().sum::<u64>() + kernel_ticks.sum::<u64>();
        let elsewhere = duration(machine_ticks.saturating_sub(known_ticks));
        ours_ticks.pop(); // this process
        Ok(Usage { wall, cpu: ours_ticks.into_iter().map(duration).collect(), elsewhere })
    }
}

/// What a process has in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub resident: u64,
    /// What is its own: not files that it mapped.
    pub anonymous: u64,
    /// The most that was resident at once since it began or since [`forget_peak`].
    pub peak: u64,
}

/// What a process has in memory now.
///
/// # Errors
/// The process is gone.
pub fn memory(pid: u32) -> Result<Memory> {
    memory_in(&read(&format!("/proc/{pid}/status"))?)
        .context("the process status has no VmRSS, RssAnon or VmHWM")
}

/// The memory in the text of `/proc/<pid>/status`.
pub fn memory_in(status: &str) -> Option<Memory> {
    let bytes = |key: &str| {
        let kib = status.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"))?;
        Some(kib.parse::<u64>().ok()? << 10)
    };
    Some(Memory { resident: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")?, peak: bytes("VmHWM:")? })
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
    ticks_of_fields(&fields_after_name(stat)?)
}

/// The same, of one of the kernel's own threads; `None` for anything else.
pub fn ticks_of_kernel_thread(stat: &str) -> Option<u64> {
    let fields = fields_after_name(stat)?;
    let flags: u64 = fields.get(6)?.parse().ok()?;
    if flags & KERNEL_THREAD == 0 {
        return None;
    }
    ticks_of_fields(&fields)
}

fn fields_after_name(stat: &str) -> Option<Vec<&str>> {
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_ascii_whitespace().collect())
}

fn ticks_of_fields(fields: &[&str]) -> Option<u64> {
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
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

/// Of each of the kernel's own threads; those that end meanwhile are left out.
fn kernel_ticks() -> Result<BTreeMap<u32, u64>> {
    let processes = fs::read_dir("/proc").context("cannot list /proc")?;
    let ticks = processes.filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Some((pid, ticks_of_kernel_thread(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))
    });
    Ok(ticks.collect())
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
