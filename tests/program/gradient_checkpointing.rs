//! `--gradient-checkpointing`: the graph of one layer at a time, and the numbers of a graph over all of them.

use rstest::rstest;

use crate::support::{Place, Run, train, train_t5};

const FLAG: &str = "--gradient-checkpointing";

fn ends_in_the_same_bytes(place: &Place, args: &str) {
    for flags in ["without", &format!("with {FLAG}")] {
        place.succeeds(&args.replace("--output run", &format!("--output {flags}")));
    }
    place.run("with").assert_same(&place.run("without"));
    let config = place.run("with").read("config.toml");
    assert!(String::from_utf8_lossy(&config).contains("gradient_checkpointing = true"));
}

#[rstest]
#[case::lora("--lora-dropout 0.4")]
#[case::accumulation("--gradient-accumulation 3")]
#[case::bottlenecks("--method adapter")]
#[case::two_devices("--devices flex,flex --lora-dropout 0.4 --batch-size 7")]
#[case::cached("--layers-to-transform 1 --cache-frozen")]
#[case::ia3("--method ia3")]
fn a_run_ends_in_the_bytes_of_one_without(#[case] options: &str) {
    ends_in_the_same_bytes(&Place::new(), &train(&format!("--epochs 2 --keep last {options}")));
}

#[test]
fn so_does_one_of_a_t5() {
    ends_in_the_same_bytes(&Place::t5(), &train_t5("words.csv", "--epochs 2 --keep last --lora-dropout 0.4"));
}

#[test]
fn a_killed_run_ends_in_the_bytes_of_a_whole_one() {
    let place = Place::new();
    let options = format!("{FLAG} --save-steps 3 --lora-dropout 0.3 --epochs 8");
    place.succeeds(&train(&format!("{options} --output whole")));
    let run = place.interrupted("run", &train(&options), Run::is_between_evaluations);
    place.succeeds("train --resume run");
    run.assert_same(&place.run("whole"));
}
