//! How fast the kernels are, and what share that is of what the machine can do.
//!
//! `cargo xtask bench kernels` builds and runs it; a word behind that chooses the cases whose name holds it. Cases are
//! measured in turn, sample by sample and not one after the other, so that what else the machine does hits all of them.

mod cases;
mod peak;

use std::time::Instant;

use cases::{Case, Work};
use peak::Peak;

/// Samples that count.
const SAMPLES: usize = 15;

/// Seconds that a sample takes at the least.
const SECONDS: f64 = 0.03;

fn main() {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |case: &Case| words.iter().all(|word| case.name.contains(word.as_str()));
    let mut cases: Vec<Case> = cases::all().into_iter().filter(wanted).collect();
    // A first look, which warms up too, says how many runs a sample has.
    let runs: Vec<usize> = cases.iter_mut().map(|case| (SECONDS / seconds(case, 2)).ceil().max(1.0) as usize).collect();
    let mut samples = vec![Vec::new(); cases.len()];
    let mut peaks = vec![Peak::measured()];
    for _ in 0..SAMPLES {
        for ((case, runs), samples) in cases.iter_mut().zip(&runs).zip(&mut samples) {
            samples.push(seconds(case, *runs));
        }
        peaks.push(Peak::measured());
    }
    table(&cases, &samples, peaks);
}

/// Of one run.
fn seconds(case: &mut Case, runs: usize) -> f64 {
    let start = Instant::now();
    (0..runs).for_each(|_| (case.run)());
    start.elapsed().as_secs_f64() / runs as f64
}

fn table(cases: &[Case], samples: &[Vec<f64>], mut peaks: Vec<Peak>) {
    peaks.sort_by(|a, b| a.gflops.total_cmp(&b.gflops));
    let (least, median) = (peaks[0].gflops, peaks[peaks.len() / 2].gflops);
    let Peak { gflops, gbytes } = peaks.into_iter().reduce(Peak::max).expect("it was measured");
    let threads = rayon::current_num_threads();
    // Far apart where others use the same cores.
    println!(
        "This machine, measured between the samples: {least:.0} to {gflops:.0} GFLOP/s in registers, in the median"
    );
    println!("{median:.0}; at most {gbytes:.1} GB/s copied; {threads} threads.\n");
    // Rates are of the fastest sample, as the peak is of its own: both are what is left when nobody else is at work.
    let head = ["median ms", "fastest", "GFLOP/s", "GB/s", "of peak"].map(|name| format!("{name:>10}")).concat();
    println!("{:60}{head}", format!("{SAMPLES} samples"));
    for (case, samples) in cases.iter().zip(samples) {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let (fastest, median) = (sorted[0], sorted[sorted.len() / 2]);
        let rate = |work: f64| work / fastest / 1e9;
        let (flops, bytes, share) = match case.work {
            Work::Flops(flops) => (format!("{:.1}", rate(flops)), String::new(), rate(flops) / gflops),
            Work::Bytes(bytes) => (String::new(), format!("{:.1}", rate(bytes)), rate(bytes) / gbytes),
        };
        let [median, fastest] = [median, fastest].map(|seconds| seconds * 1e3);
        println!("{:60}{median:10.3}{fastest:10.3}{flops:>10}{bytes:>10}{:9.0}%", case.name, share * 100.0);
    }
}
