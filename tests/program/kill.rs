//! SIGKILL at any moment: the folder is never corrupt, and the run can always be taken up and ends in the same bytes.

use std::collections::BTreeMap;
use std::process::Child;
use std::time::{Duration, Instant};

use rstest::rstest;

use crate::support::{Place, Random, Run, kill_when, train};

/// Nearly all of such a run is spent in writing checkpoints.
const OPTIONS: &str = "--save-steps 2 --logging-steps 1 --lora-dropout 0.2";

/// Where runs were when they were killed, and how often.
#[derive(Default)]
struct Kills(BTreeMap<&'static str, usize>);

impl Kills {
    fn count(&self) -> usize {
        self.0.values().sum()
    }

    /// Looks at what a kill has left: nothing may be corrupt, whatever the moment.
    fn examine(&mut self, place: &Place, run: &Run) {
        *self.0.entry(phase(run)).or_default() += 1;
        run.assert_intact();
        if run.has_begun() {
            place.succeeds("inspect run");
        }
    }

    fn tell(&self, what: &str) {
        eprintln!("{what}: {} kills", self.count());
        for (phase, count) in &self.0 {
            eprintln!("  {count:3} {phase}");
        }
    }
}

fn phase(run: &Run) -> &'static str {
    let names = run.checkpoints();
    let finished = run.state().is_some_and(|state| state["finished"] == true);
    match () {
        () if !run.path("").exists() => "before there is a folder",
        () if !run.has_begun() => "before the run has begun",
        () if names.iter().any(|name| name.ends_with(".partial")) => "while a checkpoint is written",
        () if names.iter().any(|name| name.ends_with(".removed")) => "while a checkpoint is removed",
        () if run.steps().is_empty() => "before the first checkpoint",
        () if !finished => "between checkpoints",
        () if !run.has_adapter() => "after the last checkpoint, before the adapter is in place",
        () => "after all is done",
    }
}

/// Begins the run, or takes up what there is of it.
fn start(place: &Place, command: &str) -> Child {
    let command = if place.run("run").has_begun() { "train --resume run" } else { command };
    place.command().args(command.split_whitespace()).spawn().unwrap()
}

/// Kills a process so long after its start, or reports that it has succeeded before.
fn killed_after(mut child: Child, delay: Duration) -> bool {
    std::thread::sleep(delay);
    if let Some(status) = child.try_wait().unwrap() {
        assert!(status.success(), "the run failed by itself");
        return false;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

#[rstest]
#[case::an_epoch_at_a_time(1, "--gradient-accumulation 2")]
#[case::evaluation_by_step_and_early_stopping(2, "--eval-steps 5 --early-stopping 8 --keep last --epochs 6")]
fn a_kill_at_a_random_moment_loses_nothing(#[case] seed: u64, #[case] options: &str) {
    const KILLS: usize = 30;
    let place = Place::new();
    let command = train(&format!("{OPTIONS} {options}"));
    let began = Instant::now();
    place.succeeds(&command.replace("--output run", "--output whole"));
    let duration = began.elapsed();
    let whole = place.run("whole");
    let (mut random, mut kills, mut chains) = (Random(seed), Kills::default(), 0);
    while kills.count() < KILLS {
        // The first kill of each run falls somewhat later than that of the run before; those that follow fall
        // anywhere. Every fourth falls into the first moments, of which there are few.
        let mut share = (chains % 10) as f64 / 10.0 + random.share() / 10.0;
        loop {
            let delay = if random.below(4) == 0 { 0.03 * random.share() } else { duration.as_secs_f64() * share };
            if !killed_after(start(&place, &command), Duration::from_secs_f64(delay)) {
                break;
            }
            kills.examine(&place, &place.run("run"));
            share = random.share();
        }
        place.run("run").assert_same(&whole);
        place.remove("run");
        chains += 1;
    }
    kills.tell(&format!("{chains} runs of {duration:.1?}"));
}

fn locked(run: &Run) -> bool {
    run.path(".lock").exists()
}

fn labelled(run: &Run) -> bool {
    run.path("labels.json").exists()
}

fn begun(run: &Run) -> bool {
    run.has_begun()
}

fn writing(run: &Run) -> bool {
    run.checkpoints().len() > 1 && run.checkpoints().iter().any(|name| name.ends_with(".partial"))
}

fn removing(run: &Run) -> bool {
    run.checkpoints().iter().any(|name| name.ends_with(".removed"))
}

fn three_checkpoints(run: &Run) -> bool {
    run.steps().len() > 2
}

fn finished(run: &Run) -> bool {
    run.state().is_some_and(|state| state["finished"] == true)
}

fn weights_in_place(run: &Run) -> bool {
    run.path("adapter_model.safetensors").exists()
}

/// What is over in a moment is seldom hit by chance, so here the kill follows the sight of it.
#[rstest]
#[case::the_lock(locked)]
#[case::the_labels(labelled)]
#[case::the_options(begun)]
#[case::a_partial_checkpoint(writing)]
#[case::a_checkpoint_half_removed(removing)]
#[case::a_checkpoint_too_many(three_checkpoints)]
#[case::the_last_checkpoint(finished)]
#[case::the_weights(weights_in_place)]
fn a_kill_at_the_sight_of_a_file_loses_nothing(#[case] sight: fn(&Run) -> bool) {
    let place = Place::new();
    let command = train(&format!("{OPTIONS} --epochs 2"));
    place.succeeds(&command.replace("--output run", "--output whole"));
    let whole = place.run("whole");
    let mut kills = Kills::default();
    for _ in 0..3 {
        for _ in 0..2 {
            let run = place.run("run");
            kill_when(&mut start(&place, &command), || sight(&run));
            kills.examine(&place, &run);
        }
        assert!(start(&place, &command).wait().unwrap().success());
        place.run("run").assert_same(&whole);
        place.remove("run");
    }
    kills.tell("at the sight of a file");
}
