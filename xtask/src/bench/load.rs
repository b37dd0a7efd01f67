//! What else the machine does while something is measured. Subjects that take turns share it fairly only on average, and
//! unfairly where their threads wait for each other in different ways: a number from a busy machine has to say so.

use std::fs;
use std::time::Instant;

/// The share of all cores' time that others may take before it is said.
pub(crate) const QUIET: f64 = 0.05;

/// Seconds of a tick of the kernel's counters (`USER_HZ`, which is 100 wherever Linux runs today).
const TICK: f64 = 0.01;

/// The counters at the beginning of a measurement.
pub(crate) struct Load {
    since: Instant,
    busy: Option<f64>,
}

impl Load {
    /// Begins to count.
    pub(crate) fn begin() -> Self {
        Self { since: Instant::now(), busy: busy() }
    }

    /// The share of all cores' time that went to others than the processes which took `own` seconds; `None` where the system
    /// does not tell.
    pub(crate) fn of_others(&self, own: f64) -> Option<f64> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let others = busy()? - self.busy? - own;
        Some((others / (self.since.elapsed().as_secs_f64() * cores)).clamp(0.0, 1.0))
    }
}

/// Seconds that all cores together have worked since the machine started, those that went to other guests included.
fn busy() -> Option<f64> {
    busy_in(&fs::read_to_string("/proc/stat").ok()?)
}

fn busy_in(stat: &str) -> Option<f64> {
    let fields = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = fields.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user already.
    let all: f64 = ticks.get(..8)?.iter().sum();
    Some((all - ticks[3] - ticks[4]) * TICK)
}

/// Seconds of all cores that a process has taken so far; 0 where the system does not tell.
pub(crate) fn taken_by(process: u32) -> f64 {
    fs::read_to_string(format!("/proc/{process}/stat")).ok().and_then(|stat| taken_in(&stat)).unwrap_or(0.0)
}

fn taken_in(stat: &str) -> Option<f64> {
    // The name in parentheses may hold anything; utime and stime are the 14th and 15th field.
    let after_name = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) * TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_proc_5_describes_them() {
        let stat = "cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert!((busy_in(stat).unwrap() - 1.71).abs() < 1e-9);
        let process = "42 (a (b) c) S 1 42 42 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 1 0 5 1 1";
        assert!((taken_in(process).unwrap() - 3.0).abs() < 1e-9);
        assert_eq!((busy_in(""), taken_in("")), (None, None));
    }
}
