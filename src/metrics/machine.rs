//! The process as the system sees it: memory, descriptors, processor time.
//!
//! Read when somebody looks, from `/proc` (proc(5)); what cannot be read is left
//! out.

use super::List;
use crate::clock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::sync::atomic::AtomicU64;

/// Adds what is known of the process now.
pub(super) fn register(list: &mut List) {
    let Some(resident) = resident_octets() else { return };
    let memory = Gauge::<i64>::default();
    memory.set(resident);
    list.add_with(Unit::Bytes, "process_resident_memory", "Memory in use", memory);
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let number = i64::try_from(open.count()).unwrap_or(i64::MAX);
        list.add::<Gauge>("process_open_fds", "Open descriptors").set(number);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current.and_then(|most| i64::try_from(most).ok()) {
        list.add::<Gauge>("process_max_fds", "Descriptors that may be open").set(most);
    }
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let processor = Counter::<f64, AtomicU64>::default();
    processor.inc_by(used.tv_sec as f64 + used.tv_nsec as f64 / 1e9);
    list.add_with(Unit::Seconds, "process_cpu", "Processor time used", processor);
}

/// When the process began, as good as.
pub(super) fn start_time() -> Gauge<f64, AtomicU64> {
    let start = Gauge::default();
    start.set(clock::wall().0 as f64 / 1000.0);
    start
}

/// `VmRSS`, which proc(5) gives in kibibytes.
fn resident_octets() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
