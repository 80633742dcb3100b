//! What is measured while a soak goes on: the process as the system sees it, its disk, and
//! what it counts itself.

use super::support::api::Scene;
use super::support::octets_under;
use std::fmt;
use std::fs;
use std::time::Instant;

/// A moment of a soak; octets in MiB.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Seconds since the beginning.
    pub at: f64,
    /// Resident memory.
    pub memory: f64,
    pub descriptors: u64,
    pub threads: u64,
    /// Disk of the spool.
    pub spool: f64,
    /// Disk of the journal of events.
    pub journal: f64,
    /// Disk of the protocol log.
    pub log: f64,
    /// Posts that are not over.
    pub queued: u64,
    /// Connections to receivers that are open.
    pub connections: u64,
}

impl Sample {
    /// As it is now.
    pub fn of(scene: &Scene, begun: Instant) -> Sample {
        let place = format!("/proc/{}", scene.gateway.child.id());
        let status = fs::read_to_string(format!("{place}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let data = scene.directory.path().join("postgate-data");
        let disk = |name: &str| octets_under(&data.join(name)) as f64 / MIB;
        let text = metrics(scene);
        Sample {
            at: begun.elapsed().as_secs_f64(),
            memory: field("VmRSS") as f64 / 1024.0,
            descriptors: fs::read_dir(format!("{place}/fd")).unwrap().count() as u64,
            threads: field("Threads"),
            spool: disk("spool"),
            journal: disk("journal"),
            log: disk("log"),
            queued: ["waiting", "sending", "held"]
                .map(|state| metric(&text, &format!("postgate_queue_posts{{state=\"{state}\"}}")))
                .iter()
                .sum(),
            connections: metric(&text, "postgate_connections_open"),
        }
    }
}

const MIB: f64 = 1_048_576.0;

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample { at, memory, descriptors, threads, spool, journal, log, queued, connections } = self;
        write!(
            f,
            "{at:7.0} s  memory {memory:6.1}  descriptors {descriptors:4}  threads {threads:3}  spool {spool:6.0}  \
             journal {journal:6.0}  log {log:6.0}  queued {queued:6}  connections {connections:4}"
        )
    }
}

/// What the gateway counts, as text.
pub fn metrics(scene: &Scene) -> String {
    let response = scene.get("/metrics");
    assert_eq!(response.status, 200, "{response:?}");
    String::from_utf8(response.body).unwrap()
}

/// All series of a name together, or those whose labels it has.
pub fn metric(text: &str, name: &str) -> u64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
    };
    let values: Vec<_> = text.lines().filter_map(value).collect();
    // Of a name without labels there may be none yet.
    assert!(!values.is_empty() || !name.ends_with('}'), "no {name}");
    values.into_iter().sum::<f64>() as u64
}

/// How much memory grows in an hour, by least squares, in hundredths of what there is on
/// average; and the standard error of that.
pub fn slope(samples: &[Sample]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (at, memory) = (mean(|sample| sample.at), mean(|sample| sample.memory));
    let spread: f64 = samples.iter().map(|sample| (sample.at - at).powi(2)).sum();
    let common: f64 = samples.iter().map(|sample| (sample.at - at) * (sample.memory - memory)).sum();
    let slope = common / spread;
    let strays: f64 =
        samples.iter().map(|sample| (sample.memory - memory - slope * (sample.at - at)).powi(2)).sum();
    let error = (strays / (count - 2.0) / spread).sqrt();
    (slope * 3600.0 / memory * 100.0, error * 3600.0 / memory * 100.0)
}
