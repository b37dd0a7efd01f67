//! The seam: sites are where modules are, and a run meets each of them.

use std::collections::BTreeSet;
use std::sync::Mutex;

use burn::prelude::*;
use peft::core::{
    AddNormOp, BatchRows, EmbeddingOp, Hooks, KeyValue, LinearOp, Naming, NormOp, Prompt, Routed, Site, SiteKind,
    Spans, Sublayer, param_ids,
};
use peft::models::Scorer;
use peft::models::bert::names::{from_reference, to_reference};
use peft::models::bert::{AnyBert, BertHead};
use peft::prelude::*;
use rstest::rstest;

use crate::support::*;

/// Notes every site a run calls at.
#[derive(Default)]
pub(crate) struct Notes(Mutex<BTreeSet<Site>>);

impl Notes {
    fn note(&self, site: &Site) {
        self.0.lock().unwrap().insert(site.clone());
    }
}

impl Hooks for Notes {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        assert_eq!(op.weight.dims()[0], x.dims()[2]);
        self.note(op.site);
        op.run(x)
    }
    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.note(op.site);
        op.run(x)
    }
    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        self.note(op.site);
        op.run(ids)
    }
    fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        self.note(at.site);
        assert_eq!(at.residual.dims(), h.dims());
        h
    }
    fn prefix_spans(&self, at: &Site, _rows: &BatchRows) -> Spans {
        self.note(at);
        Spans::none()
    }
    fn prefix(&self, at: &Site, _rows: &BatchRows) -> Option<KeyValue> {
        self.note(at);
        None
    }
    fn prompt(&self, at: &Site, _rows: &BatchRows) -> Option<Prompt> {
        self.note(at);
        None
    }
}

/// `to` and `from` are the model's names; a module for which `shared` holds runs on another's parameter.
pub(crate) fn check<M: Backbone>(
    model: &M,
    [to, from]: [Naming; 2],
    shared: impl Fn(&Site) -> bool,
    run: impl FnOnce(&Notes),
) {
    let notes = Notes::default();
    run(&notes);
    let met = notes.0.into_inner().unwrap();
    let listed: BTreeSet<Site> = model.sites().iter().map(|entry| entry.site.clone()).collect();
    assert_eq!(met, listed, "the sites a run meets are those the model lists");
    assert_eq!(listed.len(), model.sites().iter().count(), "each once");
    let paths: BTreeSet<String> = param_ids(model).into_iter().map(|(path, _)| path).collect();
    let mut owners = BTreeSet::new();
    for entry in model.sites() {
        let path = entry.site.path();
        assert_eq!(to(path), entry.site.name());
        assert_eq!(from(entry.site.name()), path);
        if matches!(entry.kind, SiteKind::Linear { .. } | SiteKind::Norm { .. } | SiteKind::Embedding { .. }) {
            assert_ne!(paths.contains(&format!("{path}.weight")), shared(&entry.site), "the parameter at {path}");
            owners.insert(path.to_string());
        }
    }
    for path in paths {
        let owner = path.rsplit_once('.').unwrap().0;
        assert!(owners.contains(owner), "{path} belongs to no site");
    }
}

/// Leaves the normalisation at the end of one block out, and doubles the sum there.
struct Bare(&'static str);

impl Hooks for Bare {
    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        match op.site.name().ends_with(self.0) {
            true => (h + op.residual.clone()) * 2.0,
            false => op.run(h),
        }
    }
}

#[test]
fn the_sum_and_the_normalisation_can_be_replaced_and_compose() {
    let device = Device::flex();
    let model = bert(&device);
    let run = |hooks: &dyn Hooks| model.forward(&batch(&device), hooks);
    let (base, bare) = (run(&Identity), run(&Bare("1.output")));
    far(bare.clone(), base.clone());
    // The outer one decides, and one that stands elsewhere changes nothing here.
    close(run(&(Bare("1.output"), Bare("1.output"))), bare.clone());
    close(run(&(Bare("nowhere"), Bare("1.output"))), bare.clone());
    close(run(&(Bare("1.output"), Bare("nowhere"))), bare.clone());
    let (bare_hooks, nothing) = (Bare("1.output"), Identity);
    let routed = Routed::new(vec![Some((0, &bare_hooks as &dyn Hooks)), Some((1, &nothing))]);
    let rows = run(&routed);
    close(rows.clone().narrow(0, 0, 1), bare.narrow(0, 0, 1));
    close(rows.narrow(0, 1, 1), base.narrow(0, 1, 1));
}

/// Notes how many positions the last linear of the last layer is run for, and may say that it needs all.
struct Wide {
    mixes: bool,
    seen: Mutex<Vec<usize>>,
}

impl Hooks for Wide {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        if op.site.name() == "bert.encoder.layer.1.output.dense" {
            self.seen.lock().unwrap().push(x.dims()[1]);
        }
        op.run(x)
    }
    fn mixes_positions(&self) -> bool {
        self.mixes
    }
}

#[rstest]
#[case::each_by_itself(false, false)]
#[case::each_by_itself_inside_of_others(false, true)]
#[case::mixed(true, false)]
#[case::mixed_inside_of_others(true, true)]
fn the_last_layer_is_run_for_what_is_pooled(#[case] mixes: bool, #[case] composed: bool) {
    let device = Device::flex();
    let model = bert(&device);
    let base = model.forward(&batch(&device), &Identity);
    let hooks = Wide { mixes, seen: Mutex::default() };
    let got = match composed {
        true => {
            let pair: (&dyn Hooks, Identity) = (&hooks, Identity);
            model.forward(&batch(&device), &Routed::new(vec![Some((0, &pair as &dyn Hooks)), None]))
        }
        false => model.forward(&batch(&device), &hooks),
    };
    close(got, base);
    let all = batch(&device).input_ids.dims()[1];
    assert_eq!(hooks.seen.into_inner().unwrap(), [if mixes { all } else { 1 }]);
}

fn check_bert<M: Backbone>(model: &M, run: impl FnOnce(&Notes)) {
    check(model, [to_reference, from_reference], |_| false, run);
}

#[test]
fn a_classifier_meets_every_site_it_lists() {
    let device = Device::flex();
    let model = bert(&device);
    check_bert(&model, |notes| drop(model.forward(&batch(&device), notes)));
}

#[test]
fn a_masked_language_model_meets_every_site_it_lists() {
    let device = Device::flex();
    let config = BertConfig::from_folder(&fixture("base")).unwrap();
    let model = BertForMaskedLm::new(&config, &device);
    check_bert(&model, |notes| {
        let scores = model.forward(&batch(&device), notes);
        assert_eq!(scores.dims(), [2, 8, config.vocab_size]);
    });
}

#[test]
fn the_heads_of_positions_meet_every_site_they_list() {
    let device = Device::flex();
    let config = BertConfig::from_folder(&fixture("base")).unwrap();
    for (head, outputs) in [(BertHead::Token, 5), (BertHead::QuestionAnswering, 2)] {
        let model = AnyBert::new(&config, head, 5, &device);
        check_bert(&model, |notes| assert_eq!(model.scores(&batch(&device), notes).dims(), [2, 8, outputs]));
    }
}

#[test]
fn the_decoder_of_a_checkpoint_without_one_is_tied_to_the_words() {
    let device = Device::flex();
    let loaded = BertForMaskedLm::from_folder(&fixture("base"), &device).unwrap();
    assert!(loaded.fresh.iter().all(|name| name.starts_with("cls.")), "{:?}", loaded.fresh);
    assert!(!loaded.fresh.contains(&"cls.predictions.decoder.weight".to_string()));
}
