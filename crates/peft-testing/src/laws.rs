//! The laws, as functions that panic where one is broken.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::Gradients;
use peft_core::file::safetensors_bytes;
use peft_core::tensors::{Tensors, export, export_gradients, import, parameters};
use peft_core::{Adapters, BASE, Error, Fold, Hooks, Identity, Method, merge};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{Case, Mini, close, far, ids, shake};

/// A fresh adapter is the base where its initialisation says so, a trained one is not, and disabling one gives the
/// base back exactly.
///
/// # Panics
/// Where that is not so.
pub fn fresh_random_and_disabled<P: Method>(case: &Case<P>) {
    let (device, mini) = mini();
    let run = |hooks: &dyn peft_core::Hooks| mini.forward(ids(2, &device), hooks);
    let base = run(&Identity);
    let fresh = (case.init)(&mini);
    match case.starts_as_base {
        true => close(run(&fresh), base.clone()),
        false => assert!(run(&fresh).into_data() != base.to_data(), "a fresh one changes nothing"),
    }
    far(run(&shake(fresh, 0.5)), base.clone());
    run(&Identity).into_data().assert_eq(&base.into_data(), true);
}

/// Every parameter of the adapter gets a gradient that is not zero, and none of the base's gets any; with memory-bound
/// operations recomputed in the backward pass too.
///
/// # Panics
/// Where that is not so.
pub fn only_the_adapter_gets_gradients<P: Method>(case: &Case<P>, recomputed: bool) {
    let device = Device::flex().autodiff();
    let device = if recomputed { device.gradient_checkpointing() } else { device };
    let mini = Mini::new(&device);
    let adapter = shake((case.init)(&mini), 0.3);
    let gradients = mini.forward(ids(2, &device), &adapter).powf_scalar(2.0).sum().backward();
    let got = export_gradients(&adapter, &gradients);
    let names = |tensors: &Tensors| tensors.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&got), names(&parameters(&adapter)));
    for (name, gradient) in &got {
        assert!(gradient.iter::<f32>().any(|g| g != 0.0), "the gradient of {name} is zero");
    }
    struct Count(usize, Gradients);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 += usize::from(param.val().grad(&self.1).is_some());
        }
    }
    let mut count = Count(0, gradients);
    mini.visit(&mut count);
    assert_eq!(count.0, 0, "parameters of the base with a gradient");
}

/// Merged is unmerged, merging again changes nothing, unmerging is keeping the base, and what is no number is refused.
///
/// # Panics
/// Where that is not so.
pub fn merged_is_unmerged<P: Fold>(case: &Case<P>) {
    let (device, mini) = mini();
    let run = |mini: &Mini, hooks: &dyn peft_core::Hooks| mini.forward(ids(2, &device), hooks);
    let adapter = shake((case.init)(&mini), 0.3);
    let (base, want) = (run(&mini, &Identity), run(&mini, &adapter));
    for _ in 0..2 {
        close(run(&merge(mini.clone(), &adapter).expect("it merges"), &Identity), want.clone());
    }
    run(&mini, &Identity).into_data().assert_eq(&base.into_data(), true);
    assert!(matches!(merge(mini, &spoilt(adapter)), Err(Error::NotFinite { .. })), "infinity was merged");
}

/// What is loaded computes the same and saves the same bytes, and no parameter of the base is in the file.
///
/// # Panics
/// Where that is not so.
pub fn saving_what_was_loaded_gives_the_same_bytes<P: Method>(case: &Case<P>) {
    let (device, mini) = mini();
    let adapter = shake((case.init)(&mini), 0.3);
    let file = export(&adapter);
    let bytes = |tensors: &Tensors| safetensors_bytes(tensors.iter().map(|(name, data)| (name.as_str(), data)));
    let loaded = import((case.init_for_loading)(&mini), file.clone()).expect("a file of ours fits");
    assert!(bytes(&export(&loaded)) == bytes(&file), "saved again, the file is another");
    close(mini.forward(ids(2, &device), &loaded), mini.forward(ids(2, &device), &adapter));
    let base: usize = mini.num_params();
    let saved: usize = file.values().map(|data| data.shape().num_elements()).sum();
    assert!(saved > 0 && saved < base, "{saved} numbers for a base of {base}");
    // One tensor fewer, one more, or one of another shape does not fit, and says which.
    let (name, data) = file.iter().next().expect("it has tensors");
    let refused = |tensors: Tensors| import((case.init_for_loading)(&mini), tensors).unwrap_err().to_string();
    let mut tensors = file.clone();
    tensors.remove(name);
    assert!(refused(tensors.clone()).contains(name.as_str()));
    tensors.insert(name.clone(), TensorData::zeros::<f32, _>([1, 1, 1]));
    assert!(refused(tensors).contains(name.as_str()));
    let mut tensors = file.clone();
    tensors.insert("another".to_string(), data.clone());
    assert!(refused(tensors).contains("another"));
}

/// A batch whose rows use different adapters, the bare base among them, equals the separate runs: for any assignment, and
/// for rows picked out of it, again and again if need be.
///
/// # Panics
/// Where that is not so.
pub fn rows_equal_separate_runs<P: Method>(case: &Case<P>) {
    let (device, mini) = mini();
    let mut adapters = Adapters::default();
    for name in ["a", "ab"] {
        adapters.add(name, shake((case.init)(&mini), 0.3)).expect("the names differ");
    }
    let choices = prop::sample::select(vec!["a", "ab", BASE]);
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 6, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let check = |names: Vec<&'static str>| {
        let (batch, count) = (ids(names.len(), &device), names.len());
        let routed = adapters.route(&names).expect("the names are known");
        let mixed = mini.forward(batch.clone(), &routed);
        let rows = [count - 1, 0, count / 2, 0];
        let at = Tensor::<1, Int>::from_data(TensorData::from(rows.map(|row| row as i64)), &device);
        let picked = routed.for_rows(&rows).expect("they differ from row to row");
        let again = mini.forward(batch.clone().select(0, at.clone()), &*picked);
        close(again, mixed.clone().select(0, at));
        for (i, name) in names.into_iter().enumerate() {
            let row = batch.clone().narrow(0, i, 1);
            let alone = match name {
                BASE => mini.forward(row, &Identity),
                name => mini.forward(row, adapters.get(name).expect("the name is known")),
            };
            close(mixed.clone().narrow(0, i, 1), alone);
        }
        Ok(())
    };
    runner.run(&prop::collection::vec(choices, 1..6), check).expect("every assignment");
}

/// Adapters whose names begin alike stay apart, and an addition or a loading that fails changes nothing.
///
/// # Panics
/// Where that is not so.
pub fn names_never_mix<P: Method>(case: &Case<P>) {
    let (device, mini) = mini();
    let run = |adapter: &P| mini.forward(ids(2, &device), adapter);
    let of_spread = |spread| shake((case.init)(&mini), spread);
    let make = || of_spread(0.3);
    // Tests that run beside this one seed the same generator: the two differ even if they draw the same numbers.
    let (a, ab) = (make(), of_spread(0.5));
    let (first, second) = (run(&a), run(&ab));
    far(first.clone(), second.clone());
    let mut adapters = Adapters::default();
    adapters.add("a", a.clone()).expect("the first");
    adapters.add("ab", ab).expect("another name");
    assert!(adapters.add("a", make()).is_err(), "a name was taken twice");
    assert!(adapters.add("abc", a).is_err(), "a clone was taken for another adapter");
    let wrong: Tensors = [("none".to_string(), TensorData::zeros::<f32, _>([1]))].into();
    assert!(import(adapters.get("a").expect("added").clone(), wrong).is_err(), "a foreign file was loaded");
    close(run(adapters.get("a").expect("added")), first);
    close(run(adapters.get("ab").expect("added")), second.clone());
    adapters.remove("a").expect("added");
    close(run(adapters.get("ab").expect("still there")), second);
    assert!(adapters.get("a").is_err());
}

fn mini() -> (Device, Mini) {
    let device = Device::flex();
    let mini = Mini::new(&device);
    (device, mini)
}

/// `module` with infinity in the first place of every parameter.
fn spoilt<M: Module>(module: M) -> M {
    struct Spoil;
    impl ModuleMapper for Spoil {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|old| {
                let mut values: Vec<f32> = old.to_data().iter::<f32>().collect();
                values[0] = f32::INFINITY;
                Tensor::from_data(TensorData::new(values, old.shape()), &old.device())
            })
        }
    }
    module.map(&mut Spoil)
}
