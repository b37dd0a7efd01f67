//! Models by their id, fetched once from a hub on loopback.

use std::process::Command;

use rstest::rstest;

use crate::server::Server;
use crate::support::{Ended, Place, train};

const FILES: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

/// A hub that holds the base of a place as `org/tiny`.
fn hub(place: &Place) -> Server {
    Server::new(FILES.map(|name| (name, place.read(&format!("base/{name}")))))
}

/// The program with that hub, and a cache in the place.
fn online(place: &Place, server: &Server) -> Command {
    let mut command = place.command();
    command.env("HF_ENDPOINT", server.endpoint()).env_remove("HF_HUB_OFFLINE");
    command
}

fn run(mut command: Command, args: &str) -> Ended {
    Ended::of(command.args(args.split_whitespace()).output().unwrap())
}

#[test]
fn a_model_is_fetched_once_and_then_used_without_a_network() {
    let place = Place::new();
    let server = hub(&place);
    let ended = run(online(&place, &server), &train("--model org/tiny"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!server.requests().is_empty());
    place.succeeds(&train("--output local"));
    assert!(place.read("run/adapter_model.safetensors") == place.read("local/adapter_model.safetensors"));
    assert_eq!(place.json("run/adapter_config.json")["base_model_name_or_path"], "org/tiny");
    // Online, but with all in the cache; then offline, as every command of a place is by default.
    assert_eq!(run(online(&place, &server), &train("--model org/tiny --output again")).code, Some(0));
    assert_eq!(server.requests(), [""; 0]);
    drop(server);
    place.run("again").assert_same(&place.run("run"));
    place.succeeds(&train("--model org/tiny --output offline"));
    place.run("offline").assert_same(&place.run("run"));
    assert!(place.succeeds("inspect org/tiny").out.contains("2 layers, hidden 32"));
    assert_eq!(place.succeeds("predict --adapter run good bad").out.lines().count(), 2);
    place.succeeds("eval --adapter run --data valid.csv");
    place.succeeds("train --resume run");
}

#[test]
fn the_revision_a_run_was_trained_on_is_the_one_its_adapter_is_used_on() {
    let place = Place::new();
    let server = hub(&place);
    let ended = run(online(&place, &server), &train("--model org/tiny --revision v2"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(server.requests().iter().all(|request| request.contains("/resolve/v2/") || request.contains("c0ffee")));
    assert_eq!(place.json("run/adapter_config.json")["revision"], "v2");
    // The cache knows no branch `main`: only `v2` can be meant.
    let expected = place.succeeds("predict --adapter run --json good bad").out;
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        place.write(&format!("bare/{name}"), place.read(&format!("run/{name}")));
    }
    let bare = place.succeeds("predict --adapter bare --json good bad").out;
    assert_eq!(bare.lines().count(), expected.lines().count());
}

#[rstest]
#[case::unknown(None, &["has no config.json for `org/other` at revision `main`; check the id's spelling"])]
#[case::private(Some(401), &["refuses access to `org/other` (HTTP 401)", "HF_TOKEN"])]
#[case::broken(Some(500), &["answers HTTP 500 for config.json of `org/other`; try again later"])]
fn a_hub_that_says_no(#[case] status: Option<u16>, #[case] says: &[&str]) {
    let place = Place::new();
    let server = hub(&place);
    server.set(|state| state.refuse = status);
    run(online(&place, &server), &train("--model org/other")).refuses(says);
    assert!(!place.exists("run"));
}

#[test]
fn a_download_that_breaks_off_is_gone_on_with() {
    let place = Place::new();
    let server = hub(&place);
    server.set(|state| state.cut = Some("model.safetensors".to_owned()));
    let says = &["model.safetensors of `org/tiny` did not arrive whole", "run again to go on where it stopped"];
    run(online(&place, &server), &train("--model org/tiny")).refuses(says);
    assert!(!place.exists("run"));
    place.peft(&train("--model org/tiny")).refuses(&["`org/tiny` is not in the cache"]);
    assert_eq!(run(online(&place, &server), &train("--model org/tiny")).code, Some(0));
    place.succeeds(&train("--output local"));
    assert!(place.read("run/adapter_model.safetensors") == place.read("local/adapter_model.safetensors"));
}

#[test]
fn a_hub_that_is_not_there_is_named() {
    let place = Place::new();
    let server = hub(&place);
    let endpoint = server.endpoint();
    let command = online(&place, &server);
    drop(server);
    run(command, &train("--model org/tiny")).refuses(&["cannot reach", &endpoint, "check the network and HF_ENDPOINT"]);
}
