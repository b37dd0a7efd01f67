//! A run that was killed and continued ends in the bytes of one that was not.

use rstest::rstest;

use crate::support::{Place, Run, train, train_task};

fn between_evaluations(run: &Run) -> bool {
    run.is_between_evaluations()
}

/// Late enough that early stopping has something to remember.
fn after_two_rounds(run: &Run) -> bool {
    run.rounds() >= 2
}

fn after_the_first_epoch(run: &Run) -> bool {
    run.rounds() >= 1 && run.is_between_evaluations()
}

#[rstest]
#[case::within_an_epoch("--save-steps 3", between_evaluations)]
#[case::in_a_later_epoch("--save-steps 2", after_the_first_epoch)]
#[case::dropout("--save-steps 3 --lora-dropout 0.4", between_evaluations)]
#[case::accumulation("--save-steps 3 --gradient-accumulation 2 --lora-dropout 0.2", between_evaluations)]
#[case::token_budget("--save-steps 3 --batch-size 16 --max-tokens 40", between_evaluations)]
#[case::evaluation_by_step("--eval-steps 7 --save-steps 3 --logging-steps 5", between_evaluations)]
#[case::checkpoints_of_evaluations_alone("--eval-steps 4", after_two_rounds)]
#[case::keep_last("--keep last --save-steps 3", between_evaluations)]
#[case::early_stopping("--early-stopping 3 --eval-steps 5 --save-steps 3 --epochs 30", after_two_rounds)]
#[case::ia3("--method ia3 --save-steps 3", between_evaluations)]
#[case::cosine("--save-steps 3 --schedule cosine --warmup-ratio 0.4", between_evaluations)]
#[case::so_many_steps("--max-steps 110 --save-steps 3", between_evaluations)]
#[case::adafactor("--optimizer adafactor --save-steps 3 --lora-dropout 0.2", between_evaluations)]
#[case::held_out("--save-steps 3 --valid-split 0.2 --seed 5", between_evaluations)]
#[case::all_that_can_be_trained(
    "--save-steps 3 --target-modules all-linear --bias all --modules-to-save pooler",
    between_evaluations
)]
fn a_resumed_run_ends_like_an_uninterrupted_one(#[case] options: &str, #[case] when: fn(&Run) -> bool) {
    let place = Place::new();
    let has_length = options.contains("--epochs") || options.contains("--max-steps");
    let options = if has_length { options.to_string() } else { format!("{options} --epochs 8") };
    place.succeeds(&train(&format!("{options} --output whole")));
    let whole = place.run("whole");
    if options.contains("--early-stopping") {
        let stopped = whole.state().unwrap()["step"].as_u64().unwrap();
        assert!(stopped < 450, "early stopping did not stop the run");
    }
    let run = place.interrupted("run", &train(&options), when);
    run.assert_intact();
    let ended = place.succeeds("train --resume run");
    assert!(ended.out.contains("use it:"), "{}", ended.out);
    run.assert_same(&whole);
    assert_eq!(run.state().unwrap()["rounds"], whole.state().unwrap()["rounds"]);
}

#[rstest]
#[case::words("token", "--save-steps 3 --lora-dropout 0.2")]
#[case::words_of_another_method("token", "--save-steps 3 --method ia3 --gradient-accumulation 2")]
#[case::answers("qa", "--save-steps 3 --lora-dropout 0.2")]
#[case::answers_by_step("qa", "--save-steps 3 --eval-steps 7 --early-stopping 20 --valid-split 0.2")]
fn so_does_a_run_of_another_task(#[case] task: &str, #[case] options: &str) {
    let place = Place::new();
    let options = format!("{options} --epochs 6");
    place.succeeds(&train_task(task, &format!("{options} --output whole")));
    let run = place.interrupted("run", &train_task(task, &options), between_evaluations);
    run.assert_intact();
    place.succeeds("train --resume run");
    run.assert_same(&place.run("whole"));
}

#[test]
fn a_run_that_was_killed_several_times_ends_like_an_uninterrupted_one() {
    let place = Place::new();
    let options = "--save-steps 2 --epochs 8 --lora-dropout 0.3 --gradient-accumulation 2";
    place.succeeds(&train(&format!("{options} --output whole")));
    place.interrupted("run", &train(options), |run| run.rounds() >= 1);
    for rounds in [2, 4, 6] {
        let run = place.run("run");
        place.continued("run", |run| run.rounds() >= rounds);
        run.assert_intact();
    }
    place.succeeds("train --resume run");
    place.run("run").assert_same(&place.run("whole"));
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let place = Place::new();
    let first = place.succeeds(&train(""));
    place.copy("run", "before");
    let again = place.succeeds("train --resume run");
    assert_eq!(again.out, first.out);
    place.run("run").assert_same(&place.run("before"));
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_can_be_used() {
    let place = Place::new();
    let options = "--save-steps 2 --epochs 20";
    place.succeeds(&train(&format!("{options} --output whole")));
    let run = place.interrupted("run", &train(options), |run| run.steps().len() == 2 && run.is_between_evaluations());
    let newest = format!("run/checkpoints/step-{:08}", run.steps()[1]);
    for file in ["state.json", "model.bpk", "optimizer.bpk", "scheduler.bpk"] {
        let name = format!("{newest}/{file}");
        let whole = place.read(&name);
        // The second half of the last is padding.
        place.cut(&name, whole.len() / 8);
        let fix = "remove this checkpoint's folder to resume from the one before it";
        place.peft("train --resume run").refuses(&[&name, fix]);
        place.write(&name, whole);
    }
    place.remove(&newest);
    place.succeeds("train --resume run");
    place.run("run").assert_same(&place.run("whole"));
}

#[test]
fn a_run_is_not_continued_on_other_rows() {
    let place = Place::new();
    let run = place.interrupted("run", &train("--save-steps 2 --epochs 20"), |run| run.rounds() >= 1);
    for (file, which) in [("train.csv", "training"), ("valid.csv", "validation")] {
        let before = place.read(file);
        let mut text = place.text(file);
        let line = text.lines().last().unwrap().to_string();
        text.push_str(&format!("{line}\n"));
        place.write(file, text);
        place.peft("train --resume run").refuses(&[&format!("the {which} rows are not those"), "start a new run"]);
        place.write(file, before);
    }
    run.assert_intact();
    place.succeeds("train --resume run");
}
