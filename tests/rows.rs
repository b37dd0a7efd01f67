//! Named adapters, and rows of one batch under different ones.

use std::sync::Mutex;

use burn::prelude::*;
use peft::core::{
    AddNormOp, BatchRows, EmbeddingOp, Error, Hooks, KeyValue, LinearForm, LinearOp, NormOp, Prompt, Routed, Site,
    Spans, Sublayer,
};
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

/// Notes at which sites the hooks inside are run by themselves. It says what they say.
struct Noted<'a>(&'a dyn Hooks, Mutex<Vec<String>>);

impl<'a> Noted<'a> {
    fn new(hooks: &'a dyn Hooks) -> Self {
        Self(hooks, Mutex::default())
    }

    fn note(&self, at: &Site) {
        self.1.lock().unwrap().push(at.name().to_string());
    }
}

impl Hooks for Noted<'_> {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.note(op.site);
        self.0.linear(op, x)
    }
    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.note(op.site);
        self.0.norm(op, x)
    }
    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        self.note(op.site);
        self.0.embedding(op, ids)
    }
    fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        self.note(at.site);
        self.0.sublayer(at, h)
    }
    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        self.note(op.site);
        self.0.add_norm(op, h)
    }
    fn acts_at(&self, at: &Site) -> bool {
        self.0.acts_at(at)
    }
    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        self.0.linear_form(op, inside)
    }
    fn prefix_spans(&self, at: &Site, rows: &BatchRows) -> Spans {
        self.0.prefix_spans(at, rows)
    }
    fn prefix(&self, at: &Site, rows: &BatchRows) -> Option<KeyValue> {
        self.0.prefix(at, rows)
    }
    fn prompt(&self, at: &Site, rows: &BatchRows) -> Option<Prompt> {
        self.0.prompt(at, rows)
    }
}

/// The sites at which the first of three rows, each under a method of its own, is run apart from the others.
fn apart(names: [&str; 3]) -> Vec<String> {
    let device = Device::flex();
    let (bert, batch) = (bert(&device), three_rows(&device).with_tasks(crate::every_method::TASKS.to_vec()));
    let made = names.map(|name| crate::every_method::make(name, &bert));
    let noted = made.each_ref().map(|adapter| Noted::new(adapter));
    let rows = noted.iter().enumerate().map(|(i, hooks)| Some((i, hooks as &dyn Hooks))).collect();
    let mixed = bert.forward(&batch, &Routed::new(rows));
    for (row, adapter) in made.iter().enumerate() {
        close(mixed.clone().narrow(0, row, 1), bert.forward(&batch, adapter).narrow(0, row, 1));
    }
    std::mem::take(&mut *noted[0].1.lock().unwrap())
}

#[test]
fn what_has_a_closed_form_runs_with_the_rest_of_the_batch() {
    for names in
        [["lora", "lora", "lora"], ["lora", "ia3", "adalora"], ["ia3", "lora", "ia3"], ["prefix", "lora", "prompt"]]
    {
        assert_eq!(apart(names), [""; 0], "{names:?}");
    }
    // A head of one's own is a matter of its own.
    assert_eq!(apart(["head", "lora", "ia3"]), ["classifier"]);
    // Where it acts a bottleneck is run by itself, at the end of each block: its output, and the sum.
    let blocks = apart(["seq_bn", "lora", "lora"]);
    assert!(blocks.len() == 4 && blocks.iter().all(|site| site.ends_with("output")), "{blocks:?}");
    // DoRA has no closed form, where it acts.
    let dora = apart(["dora", "lora", "lora"]);
    assert!(
        !dora.is_empty() && dora.iter().all(|site| ["query", "value", "dense"].iter().any(|at| site.ends_with(at)))
    );
}
