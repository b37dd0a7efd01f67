//! Projections made of Kronecker products (Zhang et al. 2021, arXiv:2102.08597).
//!
//! `W = Σᵢ ruleᵢ ⊗ Wᵢ` with n rules `[n, n]` and n matrices `[in/n, out/n]`, each of them whole or a product of two
//! factors of low rank.

use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::module::linear;
use peft_core::{Error, Result, Stored};

use crate::config::BottleneckConfig;
use crate::config_fields::RuleInit;
use crate::draw::{normal, uniform};

/// A linear map of Kronecker products.
#[derive(Module, Debug)]
pub(crate) struct Phm {
    matrices: Stack,
    /// The layer's own rule; none if all layers share one.
    rule: Option<Stack>,
    bias: Option<Param<Tensor<1>>>,
}

/// n matrices.
#[derive(Module, Debug)]
pub(crate) enum Stack {
    /// `[n, rows, columns]`.
    Whole(Param<Tensor<3>>),
    /// Each the product of two.
    Product(Product),
}

/// `[n, rows, rank]` and `[n, rank, columns]`.
#[derive(Module, Debug)]
pub(crate) struct Product {
    left: Param<Tensor<3>>,
    right: Param<Tensor<3>>,
}

impl Stack {
    fn value(&self) -> Tensor<3> {
        match self {
            Self::Whole(whole) => whole.val(),
            Self::Product(Product { left, right }) => left.val().matmul(right.val()),
        }
    }

    fn stored(&self, key: impl Fn(&str) -> String) -> Vec<Stored> {
        match self {
            Self::Whole(whole) => vec![Stored::new(whole.id, key(""))],
            Self::Product(Product { left, right }) => {
                vec![Stored::new(left.id, key("_left")), Stored::new(right.id, key("_right"))]
            }
        }
    }

    /// The rule of a layer, or the one that all share.
    pub(crate) fn rule(config: &BottleneckConfig, shared: bool, device: &Device) -> Self {
        let n = config.phm_dim;
        let draw = |shape: [usize; 3]| {
            let value = match (config.phm_c_init, shared) {
                (RuleInit::Normal, true) => normal(shape, config.phm_init_range, device),
                (RuleInit::Normal, false) => normal(shape, 0.01, device),
                (RuleInit::Uniform, shared) => uniform(shape, if shared { 1.0 } else { 0.01 }, device),
            };
            let param = Param::from_tensor(value);
            if config.learn_phm { param } else { param.no_grad() }
        };
        match config.factorized_phm_rule {
            true => Self::Product(Product { left: draw([n, n, 1]), right: draw([n, 1, n]) }),
            false => Self::Whole(draw([n, n, n])),
        }
    }

    /// The rule's names in a file, `key(leaf)` each.
    pub(crate) fn rule_stored(&self, key: impl Fn(&str) -> String) -> Vec<Stored> {
        self.stored(|side| key(&format!("phm_rule{side}")))
    }

    /// The rule's value, `[n, n, n]`.
    pub(crate) fn rule_value(&self) -> Tensor<3> {
        self.value()
    }
}

impl Phm {
    pub(crate) fn new(config: &BottleneckConfig, d_in: usize, d_out: usize, device: &Device) -> Result<Self> {
        let n = config.phm_dim;
        if let Some(width) = [d_in, d_out].into_iter().find(|width| width % n != 0) {
            let reason = format!("{width} is no multiple of {n}; choose another phm_dim or reduction_factor");
            return Err(Error::config("phm_dim", reason));
        }
        // The reference draws Xavier-normal whatever `hypercomplex_nonlinearity` says.
        let xavier = |rows: usize, columns: usize| {
            Param::from_tensor(normal([n, rows, columns], (2.0 / (rows + columns) as f64).sqrt(), device))
        };
        let (rows, columns, rank) = (d_in / n, d_out / n, config.phm_rank);
        let matrices = match config.factorized_phm_w {
            true => Stack::Product(Product { left: xavier(rows, rank), right: xavier(rank, columns) }),
            false => Stack::Whole(xavier(rows, columns)),
        };
        let rule = (!config.shared_phm_rule).then(|| Stack::rule(config, false, device));
        let bias = config.phm_bias.then(|| Param::from_tensor(Tensor::zeros([d_out], device)));
        Ok(Self { matrices, rule, bias })
    }

    /// The matrix `[in, out]`: one product of two small matrices, put in order.
    pub(crate) fn weight(&self, shared: Option<&Tensor<3>>) -> Tensor<2> {
        let own = self.rule.as_ref().map(Stack::rule_value);
        let rule = own.as_ref().or(shared).expect("a rule of its own, or the shared one").clone();
        let matrices = self.matrices.value();
        let [n, rows, columns] = matrices.dims();
        let sum = rule.reshape([n, n * n]).transpose().matmul(matrices.reshape([n, rows * columns]));
        sum.reshape([n, n, rows, columns]).swap_dims(1, 2).reshape([n * rows, n * columns])
    }

    pub(crate) fn forward(&self, x: Tensor<3>, shared: Option<&Tensor<3>>) -> Tensor<3> {
        linear(x, self.weight(shared), self.bias.as_ref().map(|bias| bias.val()))
    }

    /// Names in a file, `key(leaf)` each.
    pub(crate) fn stored(&self, key: impl Fn(&str) -> String) -> Vec<Stored> {
        let mut stored = self.matrices.stored(|side| key(&format!("W{side}")));
        stored.extend(self.rule.iter().flat_map(|rule| rule.rule_stored(&key)));
        stored.extend(self.bias.iter().map(|bias| Stored::new(bias.id, key("b"))));
        stored
    }
}
