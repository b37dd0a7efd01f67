//! All methods together on BERT: rows of one batch under any of them, and compositions of any two.

use std::sync::OnceLock;

use burn::prelude::*;
use burn::tensor::Tolerance;
use burn::tensor::activation::log_softmax;
use peft::adapter::BottleneckConfig;
use peft::core::tensors::{export, export_gradients};
use peft::core::{Error, Frozen, Pooling, Routed};
use peft::prelude::*;
use peft::select::Importance;
use proptest::prelude::*;
use rstest::rstest;

use crate::support::*;

type Any = Adapter<AnyMethod>;

pub(crate) const FOLDING: [&str; 9] =
    ["lora", "lora biases", "adalora", "ia3", "norms", "bitfit", "last layers", "fish", "head"];
const STAYING: [&str; 11] = [
    "seq_bn",
    "double_seq_bn",
    "par_bn",
    "compacter",
    "prefix",
    "long prefix",
    "prompt",
    "long prompt",
    "multitask prompt",
    "ptuning",
    "lstm",
];

fn config(name: &str) -> AnyConfig {
    let lora = || LoraConfig::new(3).with_target_modules(["query", "value", "output.dense"]);
    match name {
        "lora" => AnyConfig::Lora(lora()),
        "lora biases" => AnyConfig::Lora(lora().with_bias(peft::lora::Bias::All)),
        "dora" => AnyConfig::Lora(LoraConfig { use_dora: true, ..lora() }),
        "adalora" => {
            AnyConfig::AdaLora(AdaLoraConfig { target_modules: lora().target_modules, ..AdaLoraConfig::new(4, 2, 10) })
        }
        "ia3" => AnyConfig::Ia3(Ia3Config::new(["key", "value", "output.dense"], ["output.dense"])),
        "norms" => AnyConfig::Selected(SelectConfig::ln_tuning(["LayerNorm"])),
        "bitfit" => AnyConfig::Selected(SelectConfig::bitfit()),
        "last layers" => AnyConfig::Selected(SelectConfig::last_layers(1)),
        "head" => AnyConfig::Selected(SelectConfig::head(["classifier"])),
        "full" => AnyConfig::Selected(SelectConfig::full()),
        "fish" => AnyConfig::Fish(FishConfig { keep_ratio: 0.02, ..FishConfig::default() }),
        "seq_bn" => AnyConfig::Bottleneck(BottleneckConfig::seq_bn()),
        "double_seq_bn" => AnyConfig::Bottleneck(BottleneckConfig::double_seq_bn()),
        "par_bn" => AnyConfig::Bottleneck(BottleneckConfig::par_bn()),
        "compacter" => AnyConfig::Bottleneck(BottleneckConfig::compacter().with_reduction_factor(4.0)),
        "prefix" => AnyConfig::Prefix(PrefixConfig::new(2)),
        "long prefix" => AnyConfig::Prefix(PrefixConfig::new(7).with_projection(6)),
        "prompt" => AnyConfig::Prompt(PromptConfig::new(1)),
        "long prompt" => AnyConfig::Prompt(PromptConfig::new(6).with_vocabulary().with_pooling(Pooling::First)),
        "multitask prompt" => AnyConfig::Multitask(MultitaskPromptConfig::new(3, 2).with_ranks(2)),
        "ptuning" => AnyConfig::PTuning(PTuningConfig::new(3).with_hidden(6)),
        "lstm" => AnyConfig::PTuning(PTuningConfig::new(4).with_hidden(6).with_lstm(1)),
        other => panic!("no method `{other}`"),
    }
}

/// An adapter moved away from where it starts. A mask is measured first.
pub(crate) fn make(name: &str, bert: &BertForSequenceClassification) -> Any {
    let config = config(name);
    let AnyConfig::Fish(fish) = &config else { return shaken(config.init(bert).unwrap()) };
    let device = Device::flex().autodiff();
    let measured = crate::support::bert(&device);
    let copies = SelectConfig::full().init(&measured).unwrap();
    let mut importance = Importance::of(&copies);
    let loss = -log_softmax(measured.forward(&three_rows(&device), &copies), 1).narrow(1, 1, 1).mean();
    importance.add(&copies, &loss.backward());
    let mask = AnyMethod::Fish(fish.init_with(&measured, &importance).unwrap());
    let file = export(&config.with_saved(mask, &measured).unwrap());
    let loaded = config.init_for_loading(bert, &file).unwrap();
    shaken(peft::core::tensors::import(loaded, file).unwrap())
}

pub(crate) fn names() -> Vec<&'static str> {
    [&FOLDING[..], &STAYING, &["dora", "full"]].concat()
}

/// The tasks of the three rows, for the method that asks.
pub(crate) const TASKS: [usize; 3] = [0, 1, 0];

struct World {
    bert: BertForSequenceClassification,
    adapters: Adapters<Any>,
    batch: Batch,
}

/// One adapter of each kind, made once.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let device = Device::flex();
        let bert = bert(&device);
        let mut adapters = Adapters::default();
        for name in names() {
            adapters.add(name, make(name, &bert)).unwrap();
        }
        World { bert, adapters, batch: three_rows(&device).with_tasks(TASKS.to_vec()) }
    })
}

impl World {
    fn get(&self, name: &str) -> &Any {
        self.adapters.get(name).unwrap()
    }

    fn run(&self, hooks: &dyn Hooks) -> Tensor<2> {
        self.bert.forward(&self.batch, hooks)
    }

    /// The rows of the batch at `rows`, again and again if need be.
    fn rows(&self, rows: &[usize]) -> Batch {
        let indices: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let select = |ids: &Tensor<2, Int>| {
            ids.clone().select(0, Tensor::from_data(TensorData::from(&indices[..]), &ids.device()))
        };
        let Batch { input_ids, attention_mask, token_type_ids, .. } = &self.batch;
        Batch {
            input_ids: select(input_ids),
            attention_mask: select(attention_mask),
            token_type_ids: select(token_type_ids),
            target: None,
            task_ids: Some(rows.iter().map(|&row| TASKS[row]).collect()),
            begun: None,
        }
    }
}

#[test]
fn each_of_them_changes_something() {
    let world = world();
    for name in names() {
        far(world.run(world.get(name)), world.run(&Identity));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_under_any_methods_equal_separate_runs(
        rows in prop::collection::vec((0usize..3, prop::sample::select([names(), vec![BASE]].concat())), 1..9)
    ) {
        let world = world();
        let (texts, names): (Vec<usize>, Vec<&str>) = rows.into_iter().unzip();
        let mixed = world.bert.forward(&world.rows(&texts), &world.adapters.route(&names).unwrap());
        for (i, (text, name)) in texts.into_iter().zip(names).enumerate() {
            let hooks: &dyn Hooks = if name == BASE { &Identity } else { world.get(name) };
            close(mixed.clone().narrow(0, i, 1), world.bert.forward(&world.rows(&[text]), hooks));
        }
    }

    /// So do rows under compositions, and compositions with what differs from row to row.
    #[test]
    fn rows_under_any_pairs_equal_separate_runs(
        chosen in prop::collection::vec(prop::sample::select(names()), 4), rows in prop::array::uniform3(0usize..4)
    ) {
        let world = world();
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| world.get(chosen[i]));
        let pairs = [(a, b), (b, c), (c, d), (d, a)];
        let of_rows = || Routed::new(rows.iter().map(|&i| Some((i, &pairs[i] as &dyn Hooks))).collect());
        let (mixed, over) = (world.run(&of_rows()), world.run(&(a, of_rows())));
        let under = (chosen[0] != "dora").then(|| world.run(&(of_rows(), a)));
        for (row, pair) in rows.into_iter().map(|i| &pairs[i]).enumerate() {
            let same = |got: &Tensor<2>, hooks: &dyn Hooks| {
                close(got.clone().narrow(0, row, 1), world.run(hooks).narrow(0, row, 1));
            };
            same(&mixed, pair);
            // DoRA's magnitudes are those of one weight: around what differs from row to row there is none.
            if let Some(under) = &under {
                same(under, &(pair, a));
            }
            same(&over, &(a, pair));
        }
    }

    /// How a composition is nested makes no difference, with what stays and what folds in any order.
    #[test]
    fn a_composition_is_its_order_alone(chosen in prop::collection::vec(prop::sample::select(names()), 3)) {
        let world = world();
        let [a, b, c] = [0, 1, 2].map(|i| world.get(chosen[i]));
        close(world.run(&((a, b), c)), world.run(&(a, (b, c))));
        // Nothing beside it is nothing.
        close(world.run(&(Identity, a)), world.run(a));
        close(world.run(&(a, Identity)), world.run(a));
    }
}

/// In training each gets from its own rows what it gets where all rows are its own.
#[test]
fn rows_under_any_methods_have_the_gradients_of_separate_runs() {
    let device = Device::flex().autodiff();
    let (bert, batch) = (Frozen::new(bert(&device)), three_rows(&device).with_tasks(TASKS.to_vec()));
    let mut adapters = Adapters::default();
    for name in names() {
        adapters.add(name, make(name, &bert)).unwrap();
    }
    for three in names().windows(3) {
        let mixed = bert.forward(&batch, &adapters.route(three).unwrap()).powf_scalar(2.0).sum().backward();
        for (row, name) in three.iter().enumerate() {
            let adapter = adapters.get(name).unwrap();
            let alone = bert.forward(&batch, adapter).narrow(0, row, 1).powf_scalar(2.0).sum().backward();
            let (got, want) = (export_gradients(adapter, &mixed), export_gradients(adapter, &alone));
            assert!(!want.is_empty() && got.keys().eq(want.keys()), "{name} beside {three:?}");
            for (tensor, want) in want {
                let largest = want.iter::<f32>().fold(1.0f32, |most, value| most.max(value.abs()));
                let bound = Tolerance::absolute(2e-5 * largest);
                got[&tensor].assert_approx_eq::<f32>(&want, bound);
            }
        }
    }
}

/// Two that fold: one after the other into the weights is what they compute together, in either order.
#[test]
fn two_that_fold_merge_as_they_compose() {
    let world = world();
    for first in FOLDING {
        for second in FOLDING.into_iter().chain(["full", "dora"]) {
            let pair = (world.get(first), world.get(second));
            let merged = merge(world.bert.clone(), &(pair.0.clone(), pair.1.clone())).unwrap();
            close(merged.forward(&world.batch, &Identity), world.run(&pair));
        }
    }
}

/// One that stays on top of one that folds: it works on the merged model as on the base with the other.
#[rstest]
fn what_stays_works_on_a_merged_model(
    #[values("lora", "lora biases", "adalora", "ia3", "norms", "bitfit", "last layers", "fish", "head")] folding: &str,
) {
    let world = world();
    assert!(FOLDING.contains(&folding));
    let folds = world.get(folding);
    let merged = merge(world.bert.clone(), folds).unwrap();
    for stays in STAYING.map(|name| world.get(name)) {
        let both = world.run(&(folds, stays));
        close(merged.forward(&world.batch, stays), both.clone());
        // They act at different places, so their order does not matter.
        close(world.run(&(stays, folds)), both.clone());
        far(both.clone(), world.run(folds));
        far(both, world.run(stays));
        let error = merge(world.bert.clone(), &(folds.clone(), stays.clone())).unwrap_err();
        assert!(matches!(error, Error::CannotMerge { .. }), "{error}");
    }
}

/// MAM (He et al. 2022): a prefix for attention, a parallel adapter for the feed-forward part.
#[test]
fn a_prefix_and_a_parallel_adapter_are_mam() {
    let world = world();
    let (prefix, parallel) = (world.get("prefix"), world.get("par_bn"));
    let mam = world.run(&(prefix, parallel));
    close(world.run(&(parallel, prefix)), mam.clone());
    far(mam.clone(), world.run(prefix));
    far(mam.clone(), world.run(parallel));
    // Each row as if it were alone, beside rows of the base.
    let pair = (prefix, parallel);
    let mixed = world.run(&Routed::new(vec![Some((0, &pair)), None, Some((0, &pair))]));
    close(mixed.clone().narrow(0, 0, 1), mam.clone().narrow(0, 0, 1));
    close(mixed.clone().narrow(0, 2, 1), mam.narrow(0, 2, 1));
    close(mixed.narrow(0, 1, 1), world.run(&Identity).narrow(0, 1, 1));
}
