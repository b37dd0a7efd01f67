//! Rows taken together give what each gives under its own hooks, and really are taken together.

use std::sync::Mutex;

use burn::tensor::{Distribution, Tolerance};

use super::*;
use crate::nn::LayerNorm;

/// What is done to a linear map.
enum Does {
    Nothing,
    Path(Tensor<2>, Tensor<2>, f64),
    Input(Tensor<1>),
    Output(Tensor<1>),
    Shift(Tensor<1>),
    Replace(Option<Tensor<2>>, Option<Tensor<1>>),
}

/// Hooks that do it, and count how often they are asked to.
struct Hook {
    does: Does,
    /// Whether they say in closed form what they do.
    says: bool,
    runs: Mutex<usize>,
}

impl Hook {
    fn new(does: Does) -> Self {
        Self { does, says: true, runs: Mutex::new(0) }
    }

    fn silent(does: Does) -> Self {
        Self { says: false, ..Self::new(does) }
    }

    fn runs(&self) -> usize {
        *self.runs.lock().unwrap()
    }

    fn run(&self) {
        *self.runs.lock().unwrap() += 1;
    }
}

impl Hooks for Hook {
    fn linear(&self, op: LinearOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.run();
        match &self.does {
            Does::Nothing => op.run(x),
            Does::Path(a, b, scale) => {
                let path = peft_kernels::linear::LowRank { input: None, a: a.clone(), b: b.clone(), scale: *scale };
                op.run_low_rank(None, x, path)
            }
            Does::Input(l) => op.run(x * l.clone().unsqueeze()),
            Does::Output(l) => op.run(x) * l.clone().unsqueeze(),
            Does::Shift(c) => op.run(x) + c.clone().unsqueeze(),
            Does::Replace(weight, bias) => op.run_replaced(weight.clone(), bias.clone(), x),
        }
    }

    fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
        self.run();
        op.run(x)
    }

    fn embedding(&self, op: EmbeddingOp<'_>, ids: Tensor<2, Int>) -> Tensor<3> {
        self.run();
        op.run(ids)
    }

    fn sublayer(&self, _: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        self.run();
        h
    }

    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        self.run();
        op.run(h)
    }

    fn acts_at(&self, _: &Site) -> bool {
        !self.says || !matches!(self.does, Does::Nothing)
    }

    fn linear_form(&self, op: &LinearOp<'_>, inside: LinearForm) -> Option<LinearForm> {
        self.says.then(|| match &self.does {
            Does::Nothing => inside,
            Does::Path(a, b, scale) => inside.low_rank(a.clone(), b.clone(), *scale),
            Does::Input(l) => inside.input_scaled(l.clone()),
            Does::Output(l) => inside.output_scaled(l.clone()),
            Does::Shift(c) => inside.shifted(c.clone()),
            Does::Replace(weight, bias) => inside.replaced(op, weight.clone(), bias.clone()),
        })
    }
}

const D_IN: usize = 5;
const D_OUT: usize = 7;
const SEQ: usize = 3;

fn device() -> Device {
    Device::flex()
}

fn drawn<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &device())
}

/// One of each kind, and paths of two ranks.
fn kinds() -> Vec<Does> {
    vec![
        Does::Nothing,
        Does::Path(drawn([D_IN, 2]), drawn([2, D_OUT]), 0.5),
        Does::Input(drawn([D_IN])),
        Does::Output(drawn([D_OUT])),
        Does::Shift(drawn([D_OUT])),
        Does::Replace(None, Some(drawn([D_OUT]))),
        Does::Replace(Some(drawn([D_IN, D_OUT])), None),
        Does::Replace(Some(drawn([D_IN, D_OUT])), Some(drawn([D_OUT]))),
        Does::Path(drawn([D_IN, 3]), drawn([3, D_OUT]), -2.0),
    ]
}

fn route<'a>(hooks: impl IntoIterator<Item = &'a dyn Hooks>) -> Routed<'a> {
    Routed::new(hooks.into_iter().enumerate().map(Some).collect())
}

fn close<const D: usize>(got: Tensor<D>, want: Tensor<D>) {
    got.into_data().assert_approx_eq::<f32>(&want.into_data(), Tolerance::absolute(2e-6));
}

/// Every pair of kinds, around a map with a bias and one without.
#[test]
fn forms_compose_as_hooks_do() {
    let site = Site::new("map", "map");
    let hooks: Vec<Hook> = kinds().into_iter().map(Hook::new).collect();
    let pairs: Vec<_> = hooks.iter().flat_map(|a| hooks.iter().map(move |b| (a, b))).collect();
    for bias in [None, Some(drawn([D_OUT]))] {
        let op = LinearOp::new(&site, drawn([D_IN, D_OUT]), bias);
        let x = drawn([pairs.len(), SEQ, D_IN]);
        let got = route(pairs.iter().map(|pair| pair as &dyn Hooks)).linear(op.clone(), x.clone());
        let alone = |(i, pair): (usize, &(&Hook, &Hook))| pair.linear(op.clone(), x.clone().narrow(0, i, 1));
        close(got, Tensor::cat(pairs.iter().enumerate().map(alone).collect(), 0));
    }
}

#[test]
fn rows_whose_hooks_say_what_they_do_share_one_product() {
    let site = Site::new("map", "map");
    let op = LinearOp::new(&site, drawn([D_IN, D_OUT]), Some(drawn([D_OUT])));
    let own_weight = |hook: &Hook| matches!(hook.does, Does::Replace(Some(_), _));
    let said: Vec<Hook> = kinds().into_iter().map(Hook::new).collect();
    let silent: Vec<Hook> = kinds().into_iter().map(Hook::silent).collect();
    let run = |hooks: &[&Hook]| {
        let _ = route(hooks.iter().map(|&hook| hook as &dyn Hooks)).linear(op.clone(), drawn([hooks.len(), SEQ, D_IN]));
    };
    run(&said.iter().collect::<Vec<_>>());
    said.iter().for_each(|hook| assert_eq!(hook.runs(), usize::from(own_weight(hook))));
    run(&silent.iter().collect::<Vec<_>>());
    silent.iter().for_each(|hook| assert_eq!(hook.runs(), 1));
    // Those that are silent run by themselves, and the others still share theirs.
    run(&[&said[1], &silent[1], &said[3]]);
    assert_eq!([said[1].runs(), silent[1].runs(), said[3].runs()], [0, 2, 0]);
}

#[test]
fn rows_whose_hooks_do_nothing_are_run_together() {
    let at = Site::new("block", "block");
    let norm = LayerNorm::new(Site::new("norm", "norm"), D_IN, 1e-6, &device());
    for (says, runs) in [(true, 0), (false, 1)] {
        let hooks: Vec<Hook> = (0..3).map(|_| Hook { says, ..Hook::new(Does::Nothing) }).collect();
        let routed = route(hooks.iter().map(|hook| hook as &dyn Hooks));
        let x = drawn([3, SEQ, D_IN]);
        let mut so_far = 0;
        let mut check = |times: usize| {
            so_far += runs * times;
            hooks.iter().for_each(|hook| assert_eq!(hook.runs(), so_far));
        };
        close(routed.norm(norm.op(), x.clone()), Identity.norm(norm.op(), x.clone()));
        check(1);
        let table = EmbeddingOp::new(&at, drawn([4, D_IN]));
        let ids = Tensor::<2, Int>::from_data([[1, 3, 0]], &device());
        let found = routed.embedding(table.clone(), ids.clone());
        // One row of ids stands for all, and so does one row of vectors where nobody acts.
        assert_eq!(found.dims()[0], if says { 1 } else { 3 });
        close(found.narrow(0, 0, 1), Identity.embedding(table, ids));
        check(1);
        let residual = drawn([3, SEQ, D_IN]);
        let want = Sublayer::new(&at, &x, &residual, Some(&norm), &Identity).finish();
        close(Sublayer::new(&at, &x, &residual, Some(&norm), &routed).finish(), want);
        // The sublayer, its sum and the normalisation behind that.
        check(3);
    }
}

/// Hooks outside a routing, and around it, are in force in the normalisation behind a sum.
#[test]
fn what_is_composed_with_a_routing_acts_on_its_rows() {
    struct Doubled;
    impl Hooks for Doubled {
        fn norm(&self, op: NormOp<'_>, x: Tensor<3>) -> Tensor<3> {
            op.run(x) * 2.0
        }
    }
    let at = Site::new("block", "block");
    let norm = LayerNorm::new(Site::new("norm", "norm"), D_IN, 1e-6, &device());
    let (x, residual) = (drawn([2, SEQ, D_IN]), drawn([2, SEQ, D_IN]));
    let end = |hooks: &dyn Hooks| Sublayer::new(&at, &x, &residual, Some(&norm), hooks).finish();
    let hooks = [Hook::silent(Does::Nothing), Hook::silent(Does::Nothing)];
    let routed = || route(hooks.iter().map(|hook| hook as &dyn Hooks));
    let want = end(&Doubled);
    close(end(&(routed(), Doubled)), want.clone());
    close(end(&(Doubled, routed())), want);
}

/// What is replaced around a routing takes the place of what each row has there.
#[test]
fn parameters_are_replaced_around_a_routing() {
    let site = Site::new("map", "map");
    let op = LinearOp::new(&site, drawn([D_IN, D_OUT]), Some(drawn([D_OUT])));
    let norm = LayerNorm::new(Site::new("norm", "norm"), D_IN, 1e-6, &device());
    let hooks: Vec<Hook> = kinds().into_iter().map(Hook::new).collect();
    let around = [Does::Replace(None, Some(drawn([D_OUT]))), Does::Replace(Some(drawn([D_IN, D_OUT])), None)];
    for around in around.map(Hook::silent) {
        let x = drawn([hooks.len(), SEQ, D_IN]);
        let routed = (route(hooks.iter().map(|hook| hook as &dyn Hooks)), &around);
        let alone = |(i, hook): (usize, &Hook)| (hook, &around).linear(op.clone(), x.clone().narrow(0, i, 1));
        let want = Tensor::cat(hooks.iter().enumerate().map(alone).collect(), 0);
        close(routed.linear(op.clone(), x.clone()), want);
    }
    let silent = [Hook::silent(Does::Nothing), Hook::silent(Does::Nothing)];
    let inside = route(silent.iter().map(|hook| hook as &dyn Hooks));
    let (bias, x) = (Some(drawn([D_IN])), drawn([2, SEQ, D_IN]));
    let got = NormOp { inner: Some(&inside), ..norm.op() }.run_replaced(None, bias.clone(), x.clone());
    close(got, norm.op().run_replaced(None, bias, x));
}

#[test]
fn a_routing_inside_another_is_one() {
    let site = Site::new("map", "map");
    let op = LinearOp::new(&site, drawn([D_IN, D_OUT]), Some(drawn([D_OUT])));
    let [one, other] = [1, 3].map(|kind| Hook::new(kinds().swap_remove(kind)));
    let x = drawn([3, SEQ, D_IN]);
    let inner = route([&one as &dyn Hooks, &other]);
    let outer = Routed::new(vec![Some((0, &inner as &dyn Hooks)), None, Some((0, &inner))]);
    let row = |hooks: &dyn Hooks, i: usize| hooks.linear(op.clone(), x.clone().narrow(0, i, 1));
    let want = Tensor::cat(vec![row(&one, 0), row(&Identity, 1), row(&other, 2)], 0);
    close(outer.linear(op.clone(), x.clone()), want.clone());
    // All rows of one routing under the hooks of another that are the same for each.
    let picked = outer.for_rows(&[2, 1]).unwrap();
    let rows = Tensor::<1, Int>::from_data([2, 1], &device());
    close(picked.linear(op.clone(), x.clone().select(0, rows.clone())), want.select(0, rows));
}
