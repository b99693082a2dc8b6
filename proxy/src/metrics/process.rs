//! What the kernel says of this process, under the names that every Prometheus client gives it. What cannot be read is left out.

use super::exposition::{Exposition, Type};

/// Adds what there is.
pub(super) fn add(out: &mut Exposition) {
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat") {
        add_stat(out, &stat);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        let open = entries.count().saturating_sub(1);
        out.single("process_open_fds", Type::Gauge, "Open descriptors.", open);
    }
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        out.single("process_max_fds", Type::Gauge, "Most descriptors that may be open.", most);
    }
}

fn add_stat(out: &mut Exposition, stat: &str) {
    // The second field is a name in parentheses, which may hold anything.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return };
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let seconds = |ticks_passed: u64| ticks_passed as f64 / ticks as f64;
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        let text = "Total user and system CPU time spent in seconds.";
        out.single("process_cpu_seconds_total", Type::Counter, text, seconds(user + system));
    }
    let booted = std::fs::read_to_string("/proc/stat").ok().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok())
    });
    if let (Some(began), Some(booted)) = (field(22), booted) {
        let text = "Start time of the process since unix epoch in seconds.";
        out.single("process_start_time_seconds", Type::Gauge, text, booted + seconds(began));
    }
    if let Some(bytes) = field(23) {
        out.single("process_virtual_memory_bytes", Type::Gauge, "Virtual memory size in bytes.", bytes);
    }
    if let Some(pages) = field(24) {
        let bytes = pages * rustix::param::page_size() as u64;
        out.single("process_resident_memory_bytes", Type::Gauge, "Resident memory size in bytes.", bytes);
    }
}
