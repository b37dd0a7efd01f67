//! The laws of every method, for every kind of adapter.

use peft_testing::{Case, Mini};
use serde_json::Number;

use crate::{Bottleneck, BottleneckConfig, Init, PostAdd, Reduction, ResidualBeforeLn, Scaling};

/// Wider than the hidden state: of so many rectified units one is alive.
const WIDE: f64 = 0.5;

type Make = fn() -> BottleneckConfig;

fn seq_bn() -> BottleneckConfig {
    BottleneckConfig::seq_bn().with_reduction_factor(WIDE)
}

fn double_seq_bn() -> BottleneckConfig {
    BottleneckConfig::double_seq_bn().with_reduction_factor(2)
}

fn par_bn() -> BottleneckConfig {
    BottleneckConfig::par_bn().with_reduction_factor(WIDE)
}

fn scaled_par_bn() -> BottleneckConfig {
    BottleneckConfig::scaled_par_bn().with_reduction_factor(WIDE)
}

fn compacter() -> BottleneckConfig {
    BottleneckConfig::compacter().with_reduction_factor(2)
}

fn own_rules() -> BottleneckConfig {
    let config = BottleneckConfig::compacter_plus_plus().with_reduction_factor(2);
    BottleneckConfig { shared_phm_rule: false, factorized_phm_rule: true, factorized_phm_w: false, ..config }
}

fn houlsby() -> BottleneckConfig {
    BottleneckConfig { init_weights: Init::Houlsby, ..double_seq_bn() }
}

fn adapter_plus() -> BottleneckConfig {
    BottleneckConfig { stochastic_depth: 0.0, ..BottleneckConfig::adapter_plus().with_reduction_factor(2) }
}

fn everything() -> BottleneckConfig {
    BottleneckConfig {
        ln_before: true,
        ln_after: true,
        use_gating: true,
        adapter_residual_before_ln: true,
        scaling: Scaling::CHANNEL,
        original_ln_before: true,
        residual_before_ln: ResidualBeforeLn::Named(PostAdd::PostAdd),
        non_linearity: "GELU".to_string(),
        ..double_seq_bn()
    }
}

fn by_layer() -> BottleneckConfig {
    let factors = [("1".to_string(), Number::from(4)), ("default".to_string(), Number::from(2))];
    BottleneckConfig { reduction_factor: Reduction::ByLayer(factors.into()), ..double_seq_bn() }.with_leave_out([0])
}

/// A case whose functions are not closures over the configuration: they are plain pointers.
macro_rules! case {
    ($make:ident, $starts_as_base:literal) => {
        Case {
            init: |mini: &Mini| (($make as Make)()).init(mini).unwrap(),
            init_for_loading: |mini: &Mini| (($make as Make)()).init_for_loading(mini).unwrap(),
            starts_as_base: $starts_as_base,
        }
    };
}

// A fresh rule is so small that next to nothing of it is left in 32 bits.
peft_testing::laws!(Bottleneck {
    seq_bn => case!(seq_bn, false),
    double_seq_bn => case!(double_seq_bn, false),
    par_bn => case!(par_bn, true),
    scaled_par_bn => case!(scaled_par_bn, true),
    compacter => case!(compacter, true),
    own_rules => case!(own_rules, true),
    houlsby => case!(houlsby, false),
    adapter_plus => case!(adapter_plus, false),
    everything => case!(everything, false),
    by_layer => case!(by_layer, false),
});
