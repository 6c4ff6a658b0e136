//! Small file systems of a test's own: one that can be filled to the last byte, and one whose disk fails.
//!
//! They are mounted, which takes root, `mkfs.ext4` and loop devices. Where one of these is missing the reason is
//! given back, so that the test can say why it is skipped. Dropping one unmounts it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MIB: usize = 1 << 20;
const BLOCK_BYTES: usize = 4 << 10;

/// A mounted file system.
#[derive(Debug)]
pub struct FileSystem {
    at: PathBuf,
}

/// A file that is nothing but in the way.
#[derive(Debug)]
pub struct Filler {
    path: PathBuf,
}

impl FileSystem {
    /// Makes an ext4 file system of this size in the file `image`, and mounts it at `at`, a directory that is made for
    /// it. The image takes space only where something is written.
    ///
    /// # Errors
    /// This machine cannot do that; the text says why.
    pub fn ext4(image: &Path, at: &Path, size_bytes: u64) -> Result<FileSystem, String> {
        let file = File::create(image).map_err(|error| format!("no image: {error}"))?;
        file.set_len(size_bytes).map_err(|error| format!("no image: {error}"))?;
        // Nothing is left to be done lazily, and every block is there for everybody.
        let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        let mkfs = ["-q", "-F", "-b", "4096", "-m", "0", "-N", "1024", "-E", options];
        run(Command::new("mkfs.ext4").args(mkfs).arg(image))?;
        FileSystem::mount_ext4(image, at)
    }

    /// Mounts an ext4 file system that is there already, after repairing it as a machine does when it starts.
    ///
    /// # Errors
    /// It cannot be repaired or mounted; the text says why.
    pub fn ext4_again(image: &Path, at: &Path) -> Result<FileSystem, String> {
        let checked = Command::new("e2fsck").args(["-f", "-y"]).arg(image).output();
        let checked = checked.map_err(|error| format!("e2fsck: {error}"))?;
        // 1: there were errors, and they are repaired.
        if !matches!(checked.status.code(), Some(0 | 1)) {
            return Err(format!("e2fsck: {}", String::from_utf8_lossy(&checked.stdout)));
        }
        FileSystem::mount_ext4(image, at)
    }

    fn mount_ext4(image: &Path, at: &Path) -> Result<FileSystem, String> {
        fs::create_dir_all(at).map_err(|error| format!("no mount point: {error}"))?;
        // On an error the file system is left alone, as distributions set it up.
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop,errors=remount-ro"]).args([image, at]))?;
        Ok(FileSystem { at: at.to_owned() })
    }

    /// Mounts a file system in memory.
    ///
    /// # Errors
    /// This machine cannot do that; the text says why.
    pub fn memory(at: &Path, size_bytes: u64) -> Result<FileSystem, String> {
        fs::create_dir_all(at).map_err(|error| format!("no mount point: {error}"))?;
        let size = format!("size={size_bytes}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(at))?;
        Ok(FileSystem { at: at.to_owned() })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// What is free, in bytes.
    pub fn available_bytes(&self) -> u64 {
        let stats = rustix::fs::statvfs(&self.at).expect("it is mounted");
        stats.f_bavail * stats.f_frsize
    }

    /// Takes all that is free, to the last block.
    pub fn fill(&self, name: &str) -> Filler {
        self.fill_but(name, 0)
    }

    /// Takes all that is free but about `left_bytes`.
    pub fn fill_but(&self, name: &str, left_bytes: u64) -> Filler {
        let path = self.at.join(name);
        let mut file = File::create(&path).expect("a full file system still has names");
        let mut block = vec![0x5a; MIB];
        while self.available_bytes() > left_bytes + block.len() as u64 && file.write_all(&block).is_ok() {}
        block.truncate(BLOCK_BYTES);
        while (left_bytes == 0 || self.available_bytes() > left_bytes) && file.write_all(&block).is_ok() {}
        file.sync_all().expect("what was written had its place");
        Filler { path }
    }

    fn unmount(&self) -> Result<(), String> {
        run(Command::new("umount").arg(&self.at))
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        if let Err(why) = self.unmount() {
            crate::say(&format!("{why}; unmounting it when nobody uses it any more"));
            let _ = run(Command::new("umount").arg("--lazy").arg(&self.at));
        }
    }
}

impl Filler {
    /// Gives the space back.
    pub fn remove(self) {
        fs::remove_file(&self.path).expect("it was made");
    }
}

/// Runs a program to its end.
fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
