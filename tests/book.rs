//! What the book's pages on composing and on quantised bases show, compiled and run.

use burn::prelude::*;
use peft::core::quantise::{Bits, quantise, scheme};
use peft::prelude::*;

use crate::support::*;

#[test]
fn the_books_code() {
    let device = Device::flex();
    let bert = bert(&device);
    let batch = batch(&device);
    let prefix = PrefixConfig::new(3).with_projection(5).init(&bert).unwrap();
    let parallel = BottleneckConfig::par_bn().init(&bert).unwrap();
    let mam = (prefix, parallel);
    let logits = bert.forward(&batch, &mam);
    far(logits, bert.forward(&batch, &Identity));
    let (_, adapter) = load_adapter(&bert, &fixture("lora")).unwrap();
    let mut adapters = Adapters::default();
    adapters.add("reviews", adapter).unwrap();
    adapters.add("spam", load_adapter(&bert, &fixture("prefix")).unwrap().1).unwrap();
    let mixed = bert.forward(&batch, &adapters.route(&["reviews", "spam"]).unwrap());
    close(mixed.clone().narrow(0, 1, 1), bert.forward(&batch, adapters.get("spam").unwrap()).narrow(0, 1, 1));
    let report = adapters.report();
    let both = report.iter().find(|(site, _)| site.name() == "classifier").map(|(_, names)| names.join(", "));
    assert_eq!(both.as_deref(), Some("reviews, spam"));
    let eight = Frozen::new(quantise(bert.clone(), &scheme(&device, Bits::Eight, Some(16))).unwrap());
    let reviews = adapters.get("reviews").unwrap();
    let apart = (eight.forward(&batch, reviews) - bert.forward(&batch, reviews)).abs().max().into_scalar::<f32>();
    assert!(apart > 0.0 && apart < 0.5, "{apart}");
}
