//! Named adapters, and rows of one batch under different ones.

use burn::prelude::*;
use peft::core::Error;
use peft::prelude::*;

use crate::support::*;

fn adapters(bert: &BertForSequenceClassification) -> Adapters<Adapter<Lora>> {
    let mut adapters = Adapters::default();
    // Names that are prefixes of one another, and ranks that differ.
    adapters.add("a", shaken(lora(bert, 4))).unwrap();
    adapters.add("a.b", shaken(lora(bert, 2))).unwrap();
    adapters
}

#[test]
fn each_row_runs_its_own_adapter() {
    let device = Device::flex();
    let (bert, batch) = (bert(&device), three_rows(&device));
    let adapters = adapters(&bert);
    let row = |logits: Tensor<2>, i: usize| logits.narrow(0, i, 1);
    let alone = |name: &str| bert.forward(&batch, adapters.get(name).unwrap());
    let base = || bert.forward(&batch, &Identity);
    for names in [["a", "a.b", BASE], ["a.b", "a.b", "a"], [BASE, "a", BASE], ["a", "a", "a"], [BASE, BASE, BASE]] {
        let mixed = bert.forward(&batch, &adapters.route(&names).unwrap());
        let want = names.iter().enumerate().map(|(i, name)| match *name {
            BASE => row(base(), i),
            name => row(alone(name), i),
        });
        close(mixed, Tensor::cat(want.collect(), 0));
    }
}

#[test]
fn gradients_reach_each_adapter_from_its_own_rows() {
    let device = Device::flex().autodiff();
    let (bert, batch) = (Frozen::new(bert(&device)), three_rows(&device));
    let adapters = adapters(&bert);
    let mixed = bert.forward(&batch, &adapters.route(&["a", BASE, BASE]).unwrap());
    let gradients = mixed.sum().backward();
    let count =
        |name: &str| peft::core::tensors::export_gradients(adapters.get(name).unwrap(), &gradients).values().count();
    assert!(count("a") > 0);
    assert_eq!(count("a.b"), 0);
}

#[test]
fn a_refused_addition_changes_nothing() {
    let device = Device::flex();
    let bert = bert(&device);
    let mut adapters = adapters(&bert);
    let clone = adapters.get("a").unwrap().clone();
    for (name, adapter, says) in [
        ("a", lora(&bert, 4), "taken"),
        ("c", clone, "clone"),
        (BASE, lora(&bert, 4), "reserved"),
        ("", lora(&bert, 4), "reserved"),
    ] {
        let error = adapters.add(name, adapter).unwrap_err();
        assert!(matches!(&error, Error::Adapter { .. }) && error.to_string().contains(says), "{error}");
        assert_eq!(adapters.names().collect::<Vec<_>>(), ["a", "a.b"]);
    }
    let error = adapters.route(&["a", "x"]).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("`x`") && error.contains("a, a.b"), "{error}");
    adapters.remove("a").unwrap();
    assert_eq!(adapters.names().collect::<Vec<_>>(), ["a.b"]);
    assert!(adapters.remove("a").is_err());
}

#[test]
fn threads_share_one_backbone() {
    let device = Device::flex();
    let (bert, batch) = (bert(&device), three_rows(&device));
    let adapters = adapters(&bert);
    let want = bert.forward(&batch, adapters.get("a").unwrap()).into_data();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let got = bert.forward(&batch, adapters.get("a").unwrap()).into_data();
                got.assert_eq(&want, true);
            });
        }
    });
}

#[test]
fn the_report_says_who_acts_where() {
    let device = Device::flex();
    let adapters = adapters(&bert(&device));
    let report = adapters.report();
    let at = |name: &str| report.iter().find(|(site, _)| site.name() == name).map(|(_, names)| names.clone());
    let names: Vec<&str> = adapters.names().collect();
    assert_eq!(at("bert.encoder.layer.0.attention.self.query"), Some(names.clone()));
    assert_eq!(at("classifier"), Some(names));
    assert_eq!(at("bert.encoder.layer.0.attention.self.key"), None);
}
