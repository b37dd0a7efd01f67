//! Texts read in two goes: what stands below all that an adapter touches, and on from there.

use burn::prelude::*;
use peft::adapter::BottleneckConfig;
use peft::core::targets::{OneOrMany, Targets};
use peft::models::bert::{AnyBert, BertHead};
use peft::models::t5::{T5EncoderForSequenceClassification, T5ForSequenceClassification, T5ForTokenClassification};
use peft::models::{Begun, Cut, GenerationConfig, Scorer};
use peft::prelude::*;
use rstest::rstest;
use serde_json::json;

use crate::every_method::{make, names};
use crate::support::*;
use crate::t5::{config, t5, three};

/// LoRA on these modules.
fn lora(targets: &str) -> AnyConfig {
    AnyConfig::Lora(LoraConfig { target_modules: Some(Targets::Pattern(targets.to_string())), ..LoraConfig::new(3) })
}

/// The same batch, begun by the base. Padding has zeros for its states.
fn begun<M: Scorer>(model: &M, batch: &Batch, cut: Cut) -> Batch {
    let hidden = model.begin(batch, cut, &Identity).hidden;
    let positions = hidden.dims()[1];
    let mask = batch.attention_mask.clone().narrow(1, 0, positions).float().unsqueeze_dim::<3>(2);
    batch.clone().with_begun(Begun::new(cut, hidden * mask))
}

/// `scores` where a batch has tokens, and zeros elsewhere.
fn of_tokens(scores: Tensor<3>, batch: &Batch) -> Tensor<3> {
    match scores.dims()[1] == batch.input_ids.dims()[1] {
        true => scores * batch.attention_mask.clone().float().unsqueeze_dim::<3>(2),
        false => scores,
    }
}

/// Under `config` the model goes on from below `layers` layers to the scores it has without.
fn goes_on_from<M: Scorer>(model: &M, batch: &Batch, config: &AnyConfig, layers: usize) {
    let adapter = shaken(config.init(model).unwrap());
    let cut = model.cut(&adapter.sites()).expect("something stays as it is");
    assert_eq!(cut.layers(), layers);
    let whole = model.scores(batch, &adapter);
    far(whole.clone(), model.scores(batch, &Identity));
    close(of_tokens(model.scores(&begun(model, batch, cut), &adapter), batch), of_tokens(whole, batch));
}

#[rstest]
#[case::last_layer(AnyConfig::Selected(SelectConfig::last_layers(1)), 1)]
#[case::lora(AnyConfig::Lora(LoraConfig {
    layers_to_transform: Some(OneOrMany::One(1)),
    ..LoraConfig::new(3).with_target_modules(["query", "output.dense"])
}), 1)]
#[case::bottlenecks(AnyConfig::Bottleneck(BottleneckConfig::double_seq_bn().with_leave_out([0])), 1)]
#[case::parallel(AnyConfig::Bottleneck(BottleneckConfig::par_bn().with_leave_out([0])), 1)]
fn every_head_of_bert_goes_on_under_what_acts_above(
    #[case] config: AnyConfig,
    #[case] layers: usize,
    #[values(BertHead::Sequence, BertHead::Token, BertHead::QuestionAnswering, BertHead::MaskedLm)] head: BertHead,
) {
    let device = Device::flex();
    let model = AnyBert::from_folder(&fixture("base"), head, Some(3), &device).unwrap().module;
    goes_on_from(&model, &three_rows(&device), &config, layers);
}

#[rstest]
#[case(BertHead::Sequence, "classifier", 1)]
#[case(BertHead::Token, "classifier", 8)]
#[case(BertHead::QuestionAnswering, "qa_outputs", 8)]
fn a_head_alone_goes_on_from_the_last_layer(#[case] head: BertHead, #[case] module: &str, #[case] of_eight: usize) {
    let device = Device::flex();
    let model = AnyBert::from_folder(&fixture("base"), head, Some(3), &device).unwrap().module;
    let config = AnyConfig::Selected(SelectConfig::head([module]));
    goes_on_from(&model, &three_rows(&device), &config, 2);
    let cut = model.cut(&config.init(&model).unwrap().sites()).unwrap();
    assert_eq!((cut.of(), cut.positions(8)), (2, of_eight));
}

#[test]
fn methods_that_act_from_the_first_layer_on_leave_nothing_to_keep() {
    let bert = bert(&Device::flex());
    let cut = |name: &str| bert.cut(&make(name, &bert).sites()).map(|cut| cut.layers());
    for name in names() {
        let want = match name {
            "head" => Some(2),
            "last layers" => Some(1),
            _ => None,
        };
        assert_eq!(cut(name), want, "{name}");
    }
}

#[test]
fn a_text_has_the_same_states_in_any_batch() {
    let device = Device::flex();
    let (bert, batch) = (bert(&device), three_rows(&device));
    let cut =
        bert.cut(&shaken(AnyConfig::Selected(SelectConfig::last_layers(1)).init(&bert).unwrap()).sites()).unwrap();
    let all = bert.begin(&batch, cut, &Identity).hidden;
    let ints =
        |tensor: &Tensor<2, Int>, row: usize| tensor.clone().narrow(0, row, 1).into_data().iter::<i64>().collect();
    let mut padded = 0;
    for row in 0..3 {
        let mask: Vec<i64> = ints(&batch.attention_mask, row);
        let text = mask.iter().filter(|&&there| there == 1).count();
        padded += mask.len() - text;
        let cut_to = |values: Vec<i64>| values[..text].to_vec();
        let [ids, types] = [&batch.input_ids, &batch.token_type_ids].map(|tensor| cut_to(ints(tensor, row)));
        let alone = bert.begin(&Batch::new(ids, types, vec![1; text], 1, &device), cut, &Identity).hidden;
        close(all.clone().narrow(0, row, 1).narrow(1, 0, text), alone);
    }
    assert!(padded > 0, "no text of the batch is padded");
}

#[rstest]
#[case::decoder("decoder.*SelfAttention.(q|v)", 2)]
#[case::cross("decoder.*EncDecAttention.(q|v)", 2)]
#[case::top_of_the_encoder(".*encoder.block.1.*(q|wi)", 1)]
fn a_t5_goes_on_in_its_encoder(#[case] targets: &str, #[case] layers: usize) {
    let device = Device::flex();
    let (model, batch) = (t5(json!({}), &device), three(&device));
    goes_on_from(&model, &batch, &lora(targets), layers);
    let adapter = shaken(lora(targets).init(&model).unwrap());
    let batch_of_choices = batch.clone().with_choices(vec![8, 3, 11, 4, 2, 1, 5, 5], vec![0, 0, 1, 2]);
    let cut = model.cut(&adapter.sites()).unwrap();
    let run = |batch: &Batch| model.scores(batch, &adapter);
    close(run(&begun(&model, &batch_of_choices, cut)), run(&batch_of_choices));
    let config =
        GenerationConfig { max_new_tokens: Some(5), decoder_start_token_id: Some(0), ..GenerationConfig::default() };
    let write = |batch: &Batch| {
        let made = model.generate(batch, &config, &adapter).unwrap();
        made.into_iter().flat_map(|made| made.sequences).map(|sequence| sequence.ids).collect::<Vec<_>>()
    };
    assert_eq!(write(&begun(&model, &batch, cut)), write(&batch));
}

#[test]
fn so_do_its_classifiers() {
    let device = Device::flex();
    let (config, batch) = (config(json!({})), three(&device));
    let on_top = lora(".*encoder.block.1.*(q|wi)");
    goes_on_from(&shaken(T5ForTokenClassification::new(&config, 3, &device).unwrap()), &batch, &on_top, 1);
    goes_on_from(&shaken(T5EncoderForSequenceClassification::new(&config, 3, &device).unwrap()), &batch, &on_top, 1);
    let model = shaken(T5ForSequenceClassification::new(&config, 3, &device).unwrap());
    goes_on_from(&model, &batch, &on_top, 1);
    goes_on_from(&model, &batch, &lora(".*decoder.*SelfAttention.(q|v)"), 2);
}

#[test]
fn what_the_encoder_reads_is_below_it_all() {
    let model = t5(json!({}), &Device::flex());
    for targets in ["shared", "encoder.block.0.*q", "(encoder.block.0|decoder.block.1).*q"] {
        let adapter = lora(targets).init(&model).unwrap();
        assert_eq!(model.cut(&adapter.sites()), None, "{targets}");
    }
}
