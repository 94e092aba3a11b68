//! The memory available to this process: that of the machine, within the limits of its control
//! groups (of a container, or of a batch system such as Slurm).

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;

/// Amounts of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Total that this process could ever use.
    pub total: u64,
    /// Amount that it can still get without swapping.
    pub available: u64,
}

/// File names of one version of control groups.
struct Version {
    /// Possible mount points, relative to the root of the file system.
    mounts: &'static [&'static str],
    /// Files with limits in bytes; any content but a number means no limit.
    limits: &'static [&'static str],
    /// File with the bytes in use, including cached pages of files.
    usage: &'static str,
    /// The line of `memory.stat` with the cached pages that the kernel drops when it needs memory.
    reclaimable: &'static str,
}

const VERSION_1: Version = Version {
    mounts: &["sys/fs/cgroup/memory"],
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};

/// Version 2 is mounted at the second path if both versions are in use.
const VERSION_2: Version = Version {
    mounts: &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    reclaimable: "inactive_file",
};

impl Memory {
    /// Memory available to this process; `None` on systems without `/proc/meminfo`.
    pub fn of_this_machine() -> Option<Self> {
        Self::below(Path::new("/"))
    }

    /// Reads the memory from a file system with the given root.
    fn below(root: &Path) -> Option<Self> {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let machine = Self::from_meminfo(&text("proc/meminfo")?)?;
        let groups = text("proc/self/cgroup").unwrap_or_default();
        let limits = groups.lines().flat_map(|line| limits(root, line));
        Some(limits.fold(machine, Self::within))
    }

    /// Limits both amounts to those of `limit`.
    fn within(self, limit: Self) -> Self {
        Self {
            total: self.total.min(limit.total),
            available: self.available.min(limit.available),
        }
    }

    /// Parses `/proc/meminfo`, whose unit is the KiB (written as kB).
    fn from_meminfo(text: &str) -> Option<Self> {
        let bytes = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            kib.checked_mul(1024)
        };
        Some(Self {
            total: bytes("MemTotal:")?,
            available: bytes("MemAvailable:")?,
        })
    }

    /// The limit that a group's folder sets, if any.
    fn of_group(folder: &Path, version: &Version) -> Option<Self> {
        let number = |name: &str| -> Option<u64> {
            let text = fs::read_to_string(folder.join(name)).ok()?;
            text.trim().parse().ok()
        };
        let total = version
            .limits
            .iter()
            .filter_map(|name| number(name))
            .min()?;
        let reclaimable = || -> Option<u64> {
            let text = fs::read_to_string(folder.join("memory.stat")).ok()?;
            let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
            let (_, bytes) = pairs.find(|(name, _)| *name == version.reclaimable)?;
            bytes.trim().parse().ok()
        };
        let usage = number(version.usage).unwrap_or(0);
        let held = usage.saturating_sub(reclaimable().unwrap_or(0));
        Some(Self {
            total,
            available: total.saturating_sub(held),
        })
    }
}

/// The limits that apply by a line of `/proc/self/cgroup` (`ID:CONTROLLERS:PATH`): those of the
/// group and of all groups above it.
///
/// In a container the path may be that seen from outside, where no such folder is mounted; the
/// folders above it, up to the mount point, are then those of the container.
fn limits(root: &Path, line: &str) -> Vec<Memory> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
        return Vec::new();
    };
    let version = match controllers {
        "" => VERSION_2,
        names if names.split(',').any(|name| name == "memory") => VERSION_1,
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    for mount in version.mounts {
        let mount = root.join(mount);
        let group = mount.join(path.trim_start_matches('/'));
        let above = group.ancestors();
        let folders = above.take_while(|folder| folder.starts_with(&mount));
        found.extend(folders.filter_map(|folder| Memory::of_group(folder, &version)));
    }
    found
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Exact: no machine has 2^53 bytes.
        #[allow(clippy::cast_precision_loss)]
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let (total, available) = (gib(self.total), gib(self.available));
        write!(
            f,
            "{total:.1} GiB, of which {available:.1} GiB are available"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// The memory found in a file system with 1 GiB, half of it available, and `files`.
    fn found(files: &[(&str, &str)]) -> (u64, u64) {
        let folder = tempfile::tempdir().unwrap();
        let meminfo = (
            "proc/meminfo",
            "MemTotal: 1048576 kB\nMemAvailable: 524288 kB\n",
        );
        for (path, text) in files.iter().chain([&meminfo]) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let memory = Memory::below(folder.path()).unwrap();
        (memory.total / MIB, memory.available / MIB)
    }

    #[test]
    fn meminfo_is_read_in_bytes() {
        let text = "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:    1024 kB\n";
        let expected = Memory {
            total: 16 << 20,
            available: 1 << 20,
        };
        assert_eq!(Memory::from_meminfo(text), Some(expected));
        assert_eq!(Memory::from_meminfo("MemTotal: many kB"), None);
        assert_eq!(Memory::from_meminfo(""), None);
    }

    #[test]
    fn without_limits_all_memory_of_the_machine_is_there() {
        assert_eq!(found(&[]), (1024, 512));
        let unlimited = [
            ("proc/self/cgroup", "4:memory:/a\n0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
            (
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            (
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes",
                "104857600\n",
            ),
        ];
        assert_eq!(found(&unlimited), (1024, 512));
    }

    #[test]
    fn the_tightest_group_above_the_process_bounds_it() {
        // 256 MiB: 100 are in use, 20 of them as a cache; the inner group has 4 more.
        let files = [
            ("proc/self/cgroup", "0::/job/step/task\n"),
            ("sys/fs/cgroup/job/memory.max", "268435456\n"),
            ("sys/fs/cgroup/job/memory.current", "104857600\n"),
            (
                "sys/fs/cgroup/job/memory.stat",
                "anon 7\ninactive_file 20971520\n",
            ),
            ("sys/fs/cgroup/job/step/memory.max", "max\n"),
            ("sys/fs/cgroup/job/step/memory.high", "272629760\n"),
            ("sys/fs/cgroup/job/step/memory.current", "1048576\n"),
        ];
        assert_eq!(found(&files), (256, 256 - 80));
    }

    #[test]
    fn a_container_that_sees_its_path_from_outside_is_bounded_by_the_mount() {
        let files = [
            ("proc/self/cgroup", "0::/docker/0123\n"),
            ("sys/fs/cgroup/memory.max", "67108864\n"),
            ("sys/fs/cgroup/memory.current", "134217728\n"),
        ];
        assert_eq!(found(&files), (64, 0));
    }

    #[test]
    fn the_first_version_of_control_groups_bounds_too() {
        let files = [
            (
                "proc/self/cgroup",
                "9:cpu,memory:/slurm/uid_1\n1:cpuset:/x\n",
            ),
            (
                "sys/fs/cgroup/memory/slurm/memory.limit_in_bytes",
                "134217728\n",
            ),
            (
                "sys/fs/cgroup/memory/slurm/memory.usage_in_bytes",
                "67108864\n",
            ),
            (
                "sys/fs/cgroup/memory/slurm/memory.stat",
                "total_inactive_file 1048576\n",
            ),
        ];
        assert_eq!(found(&files), (128, 65));
    }
}
