//! `landscape doctor`.

use super::args::DoctorArgs;
use super::print;
use crate::evaluate::runtime::{self, Runtime};

/// Prints what is there; the status is 1 when no runtime can be used.
pub fn run(arguments: &DoctorArgs) -> u8 {
    print(&format!("landscape     {}", env!("CARGO_PKG_VERSION")));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    print(&format!("cores         {cores}"));
    for (name, key) in [("memory", "MemTotal"), ("available", "MemAvailable")] {
        if let Some(size) = memory(key) {
            print(&format!("{name:13} {size}"));
        }
    }
    if let Some(cache) = runtime::cache() {
        print(&format!("cache         {}", cache.display()));
    }
    let status = match Runtime::load(arguments.onnxruntime.as_deref()) {
        Ok(runtime) => {
            print(&format!("ONNX Runtime  {}", runtime.version));
            print(&format!(
                "library       {} ({})",
                runtime.path.display(),
                runtime.by
            ));
            print(&format!("providers     {}", runtime.providers().join(", ")));
            0
        }
        Err(error) => {
            print(&format!("ONNX Runtime  none\n{error}"));
            1
        }
    };
    print("looked in");
    for (place, state) in runtime::places(arguments.onnxruntime.as_deref()) {
        print(&format!(
            "  {:22} {} ({state})",
            place.by,
            place.path.display()
        ));
    }
    status
}

/// A line of Linux's /proc/meminfo; nothing elsewhere.
fn memory(key: &str) -> Option<String> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(format!("{:.1} GiB", kib / 1024.0 / 1024.0))
}
