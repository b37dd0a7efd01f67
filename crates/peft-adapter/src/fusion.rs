//! AdapterFusion: attention over adapters that are already trained.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::prelude::*;
use burn::tensor::activation::softmax;
use burn::tensor::module::linear;
use peft_core::file::key;
use peft_core::{
    AddNormOp, Backbone, Dropout, Error, Frozen, Hooks, Method, Result, Site, SiteKind, Stored, Sublayer, sum_of,
};

use crate::bottleneck::{Bottleneck, Plan};
use crate::draw::normal;
use crate::fusion_config::FusionConfig;
use crate::layer::Dense;
use crate::place::Ready;

/// The weight of [`penalty`](Method::penalty).
const PENALTY: f64 = 0.01;

/// Trained attention over frozen bottleneck adapters (Pfeiffer et al. 2021): at each position the query is what the model
/// says, keys and values are what each adapter would add.
#[derive(Module, Debug)]
pub struct Fusion {
    layers: Vec<FusionLayer>,
    adapters: Frozen<Vec<Bottleneck>>,
    dropout: Dropout,
    #[module(skip)]
    shape: Arc<Shape>,
}

#[derive(Module, Debug)]
struct FusionLayer {
    query: Option<Dense>,
    key: Option<Dense>,
    /// `[d_model, d_model]`, without a bias.
    value: Option<Param<Tensor<2>>>,
}

#[derive(Debug)]
struct Shape {
    config: FusionConfig,
    names: Vec<String>,
    index: HashMap<Site, usize>,
}

impl FusionConfig {
    /// A fresh fusion of `adapters`, which are frozen, each part on the device of its layer of `backbone`. Their order is part of the fusion's
    /// name, and the last one's placement is that of the fusion.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) refuses; fewer than two adapters, a name given twice or with a comma, and
    /// adapters that do not stand at the same sites.
    pub fn init<M: Backbone>(&self, backbone: &M, adapters: Vec<(String, Bottleneck)>) -> Result<Fusion> {
        self.validate()?;
        let (names, adapters): (Vec<String>, Vec<Bottleneck>) = adapters.into_iter().unzip();
        check(&names, &adapters)?;
        let (mut layers, mut index) = (Vec::new(), HashMap::new());
        for entry in backbone.sites() {
            if let SiteKind::Sublayer { d_model, .. } = entry.kind
                && adapters.iter().all(|adapter| adapter.plan().index.contains_key(&entry.site))
            {
                index.insert(entry.site.clone(), layers.len());
                layers.push(FusionLayer::new(self, d_model, &backbone.device_at(&entry.site)));
            }
        }
        Ok(Fusion {
            layers,
            adapters: Frozen::new(adapters),
            dropout: Dropout::new(self.dropout()),
            shape: Arc::new(Shape { config: self.clone(), names, index }),
        })
    }
}

fn check(names: &[String], adapters: &[Bottleneck]) -> Result<()> {
    let refuse = |name: &str, reason: &str| Err(Error::Adapter { name: name.to_string(), reason: reason.to_string() });
    let [first, _, ..] = adapters else {
        return refuse(&names.join(","), "a fusion is of two adapters or more; add another");
    };
    for (i, (name, adapter)) in names.iter().zip(adapters).enumerate() {
        if name.contains(',') || names[..i].contains(name) {
            return refuse(name, "the name is given twice or has a comma; choose another");
        }
        if adapter.sites() != first.sites() {
            return refuse(name, "it stands at other places than the first one; fuse adapters of one configuration");
        }
    }
    Ok(())
}

impl FusionLayer {
    fn new(config: &FusionConfig, hidden: usize, device: &Device) -> Self {
        let drawn = || normal([hidden, hidden], 0.02, device);
        let value = || match config.value_initialized {
            // The reference's identity has a millionth beside its diagonal.
            true => {
                let eye = Tensor::<2>::eye(hidden, device);
                eye.clone() + (eye.ones_like() - eye) * 1e-6
            }
            false => drawn(),
        };
        Self {
            query: config.query.then(|| Dense::from_weight(drawn())),
            key: config.key.then(|| Dense::from_weight(drawn())),
            value: config.value.then(|| Param::from_tensor(value())),
        }
    }

    fn valued(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.value {
            Some(value) => linear(x, value.val(), None),
            None => x,
        }
    }

    /// `query`: `[batch, seq, d]`; `said`: what each adapter says, `[batch, seq·n, d]`, adapters fastest.
    fn attend(&self, config: &FusionConfig, dropout: &Dropout, query: Tensor<3>, said: Tensor<3>) -> Tensor<3> {
        let [batch, seq, hidden] = query.dims();
        let apart = |x: Tensor<3>| -> Tensor<4> { x.reshape([batch as i32, seq as i32, -1, hidden as i32]) };
        let through = |map: &Option<Dense>, x: Tensor<3>| match map {
            Some(dense) => dense.forward(x),
            None => x,
        };
        let query = through(&self.query, query).unsqueeze_dim::<4>(2);
        let scores = (apart(through(&self.key, said.clone())) * query).sum_dim(3);
        let weights = softmax(dropout.forward(scores), 2);
        let weighted = |values: Tensor<3>| (apart(values) * weights).sum_dim(2).squeeze_dim::<3>(2);
        match config.value_before_softmax {
            true => weighted(self.valued(said)),
            false => self.valued(weighted(said)),
        }
    }
}

impl Fusion {
    /// The adapters' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.shape.names.iter().map(String::as_str)
    }

    /// The fused adapters, in order.
    pub fn adapters(&self) -> &[Bottleneck] {
        &self.adapters
    }

    /// The plan of the last adapter, which decides for all.
    fn plan(&self) -> &Plan {
        self.adapters[self.adapters.len() - 1].plan()
    }
}

impl Hooks for Fusion {
    fn sublayer(&self, at: &Sublayer<'_>, h: Tensor<3>) -> Tensor<3> {
        let Some(&i) = self.shape.index.get(at.site) else { return h };
        let (place, config) = (&self.plan().place, &self.shape.config);
        let Ready { x, residual } = place.before(at, &h);
        let query = if config.query_before_ln && !place.parallel { h.clone() } else { x.clone() };
        let said: Vec<Tensor<3>> = self.adapters.iter().filter_map(|a| a.update(at.site, x.clone())).collect();
        // Keys and values are one tensor in the reference, so the residual is in both.
        let (said, rest) = match config.residual_before {
            true => (said.into_iter().map(|said| said + residual.clone()).collect(), None),
            false => (said, Some(residual)),
        };
        let [batch, seq, hidden] = x.dims();
        let said = Tensor::stack::<4>(said, 2).reshape([batch as i32, -1, hidden as i32]);
        debug_assert_eq!(said.dims()[1], seq * self.adapters.len());
        let fused = self.layers[i].attend(config, &self.dropout, query, said);
        place.after(rest.into_iter().fold(fused, |fused, rest| fused + rest), h)
    }

    fn add_norm(&self, op: AddNormOp<'_>, h: Tensor<3>) -> Tensor<3> {
        match self.shape.index.contains_key(op.site) && !self.plan().place.original_ln_after {
            true => h,
            false => op.run(h),
        }
    }

    fn acts_at(&self, at: &Site) -> bool {
        self.shape.index.contains_key(at)
    }

    fn mixes_positions(&self) -> bool {
        self.adapters.iter().any(Hooks::mixes_positions)
    }
}

impl Method for Fusion {
    fn kind(&self) -> &'static str {
        "ADAPTER_FUSION"
    }

    fn sites(&self) -> Vec<Site> {
        let mut sites: Vec<Site> = self.shape.index.keys().cloned().collect();
        sites.sort();
        sites
    }

    fn stored(&self) -> Vec<Stored> {
        let at = |(site, &i): (&Site, &usize)| {
            let key = |leaf: &str| key(site, &format!("adapter_fusion_layer.{leaf}"));
            let FusionLayer { query, key: keys, value } = &self.layers[i];
            let query = query.iter().flat_map(|dense| dense.stored(|leaf| key(&format!("query.{leaf}"))));
            let keys = keys.iter().flat_map(|dense| dense.stored(|leaf| key(&format!("key.{leaf}"))));
            let value = value.iter().map(|value| Stored::new(value.id, key("value.weight")).transposed());
            query.chain(keys).chain(value).collect::<Vec<_>>()
        };
        self.shape.index.iter().flat_map(at).collect()
    }

    /// 0.01 · Σ (I − V)² over the value maps of all sites.
    fn penalty(&self) -> Option<Tensor<1>> {
        let distance = |value: &Param<Tensor<2>>| {
            let value = value.val();
            let eye = Tensor::eye(value.dims()[0], &value.device());
            (eye - value).square().sum() * PENALTY
        };
        let values = self.layers.iter().filter(|_| self.shape.config.regularization);
        sum_of(values.filter_map(|layer| layer.value.as_ref().map(distance)))
    }
}
