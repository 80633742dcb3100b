//! What is measured while a soak goes on: the process as the system sees it, its disk, and
//! what it counts itself.

use super::support::api::Scene;
use super::support::octets_under;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// A moment of a soak; octets in MiB.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Seconds since the beginning.
    pub at: f64,
    /// Resident memory.
    pub memory: f64,
    /// Open descriptors of each kind.
    pub descriptors: BTreeMap<String, u64>,
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
            descriptors: descriptors(Path::new(&place), &data),
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

    /// Open descriptors.
    pub fn open(&self) -> u64 {
        self.descriptors.values().sum()
    }
}

/// The descriptors of a process by what they are, files of its data by their place there.
fn descriptors(process: &Path, data: &Path) -> BTreeMap<String, u64> {
    let mut descriptors = BTreeMap::new();
    // Some are closed before they are looked at.
    let opened = fs::read_dir(process.join("fd")).unwrap().map(|entry| fs::read_link(entry.unwrap().path()));
    for opened in opened.flatten() {
        let kind = kind(&opened);
        let own = kind.strip_prefix(data.to_str().unwrap()).map(str::to_owned);
        *descriptors.entry(own.unwrap_or(kind)).or_default() += 1;
    }
    descriptors
}

const MIB: f64 = 1_048_576.0;

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample { at, memory, threads, spool, journal, log, queued, connections, .. } = self;
        let descriptors = self.open();
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

/// How much memory grows in an hour, in hundredths of what there is, and how sure that is (a
/// standard error): by the median of the last third of the samples against that of the middle
/// one, so that neither the beginning nor a moment of much work decides. What was measured
/// within a minute counts once, as it hangs together.
pub fn growth(samples: &[Sample]) -> (f64, f64) {
    let third = samples.len() / 3;
    let [middle, last] = [&samples[third..2 * third], &samples[2 * third..]];
    let [(from, before), (to, after)] =
        [middle, last].map(|part| (median(part, |sample| sample.at), median(part, |sample| sample.memory)));
    let rate = (after - before) / (to - from);
    let doubt = |part: &[Sample]| {
        let stray = |sample: &Sample| sample.memory - rate * sample.at;
        let usual = median(part, stray);
        // Of a normal distribution: its deviation by the median one, and that of a median.
        let deviation = 1.4826 * median(part, |sample| (stray(sample) - usual).abs());
        let minutes = part.last().map_or(0.0, |end| (end.at - part[0].at) / 60.0);
        1.2533 * deviation / minutes.min(part.len() as f64).max(1.0).sqrt()
    };
    let doubt = doubt(middle).hypot(doubt(last)) / (to - from);
    (rate * 3600.0 / after * 100.0, doubt * 3600.0 / after * 100.0)
}

/// Not a number where there are no samples.
fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<_> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        _ if values.is_empty() => f64::NAN,
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// What an open file is, as far as files of its kind are alike: those of a directory that
/// have the same extension, all sockets, all pipes.
pub fn kind(opened: &Path) -> String {
    match (opened.parent(), opened.extension()) {
        (Some(directory), Some(extension)) if opened.is_absolute() => {
            format!("{}/*.{}", directory.display(), extension.display())
        }
        _ if opened.is_absolute() => opened.display().to_string(),
        _ => opened.to_string_lossy().replace(|char: char| char.is_ascii_digit(), "").replace(":[]", ""),
    }
}

/// Of which kind there are more descriptors than there were.
pub fn grown(before: &Sample, after: &Sample) -> String {
    let had = |kind: &String| before.descriptors.get(kind).copied().unwrap_or_default();
    let grown = after.descriptors.iter().filter(|(kind, count)| **count > had(kind));
    let told: Vec<_> = grown.map(|(kind, count)| format!("{count} {kind} after {}", had(kind))).collect();
    told.join(", ")
}
