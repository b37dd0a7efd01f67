"""Adapters of this program's in the reference libraries, and theirs in this program: the same probabilities.

usage: python check.py PEFT_PROGRAM      with torch, transformers, peft 0.21.2 and, for bottlenecks, adapters 1.3.0

Every adapter is made on the tiny BERT of `fixtures/bert/base`. Each line of the table is one adapter in one direction:
`out` was trained by this program and is loaded by the library, `in` was made by the library, moved by noise, saved by it
and is read by this program. The number is the largest difference of any probability. Ends with 1 if one is above 1e-5, or
if nothing could be compared.
"""

import csv
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
from functools import partial

import torch
import transformers
from tokenizers import Tokenizer

BOUND = 1e-5
FIXTURE = pathlib.Path(__file__).resolve().parent.parent / "fixtures/bert/base"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = "the a this that film movie story plot actor scene ending was is felt very quite long short good bad".split()
TEXTS = ["the film was good", "bad", "a very long story with a bad ending", "this plot felt quite good", "actor"]

# The options of `peft train` for what Hugging Face PEFT reads.
TRAINED = {
    "lora": "lora",
    "lora_all_linear": "lora --target-modules all-linear --bias all --lora-bias",
    "lora_rank_stabilised": "lora --use-rslora -r 4 --rank-pattern query=2 --alpha-pattern value=3",
    "lora_pissa": "lora --init-lora-weights pissa",
    "lora_olora": "lora --init-lora-weights olora",
    "dora": "lora --use-dora",
    "adalora": "adalora --init-r 6 --target-r 2",
    "ia3": "ia3",
    "prefix": "prefix --num-virtual-tokens 5",
    "prefix_projection": "prefix --num-virtual-tokens 5 --prefix-projection --encoder-hidden-size 12",
    "prompt": "prompt --num-virtual-tokens 5 --pooling first",
    "prompt_text": "prompt --num-virtual-tokens 5 --pooling first --prompt-tuning-init TEXT --prompt-tuning-init-text good",
    "ptuning_mlp": "ptuning --num-virtual-tokens 5 --encoder-hidden-size 12 --pooling first",
    "ptuning_lstm": "ptuning --num-virtual-tokens 5 --encoder-hidden-size 12 --pooling first "
                    "--encoder-reparameterization-type LSTM",
    "layernorm": "layernorm",
}
# For what AdapterHub reads; the second part converts.
TRAINED_FOR_HUB = {
    "seq_bn": ("adapter", False),
    "double_seq_bn": ("adapter --adapter-config double_seq_bn --reduction-factor 4", False),
    "par_bn": ("adapter --adapter-config par_bn", False),
    "scaled_par_bn": ("adapter --adapter-config scaled_par_bn", False),
    "compacter": ("adapter --adapter-config compacter --reduction-factor 4", False),
    "compacter++": ("adapter --adapter-config compacter++ --reduction-factor 4", False),
    "lora": ("lora", True),
    "ia3": ("ia3 --target-modules key,value,intermediate.dense", True),
}


class Place:
    """A folder with a base, rows and adapters, and the program that works there."""

    def __init__(self, folder, program):
        self.folder, self.program = pathlib.Path(folder), str(pathlib.Path(program).resolve())
        shutil.copytree(FIXTURE, self.folder / "base", ignore=shutil.ignore_patterns("io.safetensors"))
        (self.folder / "base/tokenizer.json").write_text(json.dumps(tokenizer()))
        self.tokenizer = Tokenizer.from_file(str(self.folder / "base/tokenizer.json"))
        draw = random.Random(0)
        for name, count in ("train", 40), ("valid", 10):
            with open(self.folder / f"{name}.csv", "w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["text", "label"])
                for i in range(count):
                    label = ["good", "bad"][i % 2]
                    rows.writerow([" ".join(draw.choices(WORDS[:-2], k=4) + [label]), label])

    def run(self, *args):
        ended = subprocess.run([self.program, *args], cwd=self.folder, capture_output=True, text=True)
        if ended.returncode:
            raise RuntimeError(f"peft {' '.join(args)}\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def train(self, name, options):
        self.run("train", "--model", "base", "--train", "train.csv", "--valid", "valid.csv", "--output", name,
                 "--batch-size", "4", "--epochs", "2", "--max-length", "24", "--learning-rate", "0.01",
                 "--method", *options.split())

    def train_tags(self, name, options):
        """A run that learns which words are `good` or `bad`."""
        for split in "train", "valid":
            rows = list(csv.DictReader(open(self.folder / f"{split}.csv")))
            tagged = lambda row: "".join(f"{w}\t{'B-x' if w == row['label'] else 'O'}\n" for w in row["text"].split())
            (self.folder / f"{split}.conll").write_text("\n".join(map(tagged, rows)))
        self.run("train", "--model", "base", "--task", "token", "--train", "train.conll", "--valid", "valid.conll",
                 "--output", name, "--epochs", "8", "--batch-size", "4", "--learning-rate", "0.01",
                 "--method", *options.split())

    def tags(self, name):
        """Whether each word has the first tag: what `predict` tells of words."""
        lines = self.run("predict", "--adapter", name, "--model", "base", "--json", *TEXTS).splitlines()
        return torch.tensor([float(tag == "B-x") for line in lines for tag in json.loads(line)["ner_tags"]])

    def probabilities(self, name):
        lines = self.run("predict", "--adapter", name, "--model", "base", "--json", *TEXTS).splitlines()
        return torch.tensor([list(json.loads(line)["probabilities"].values()) for line in lines])

    def inputs(self):
        """Each text alone, so that no padding is among them."""
        for text in TEXTS:
            ids = torch.tensor([self.tokenizer.encode(text).ids])
            yield {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}

    @torch.no_grad()
    def theirs(self, model):
        model.eval()
        return torch.cat([model(**inputs).logits.softmax(-1) for inputs in self.inputs()])


def tokenizer():
    special = [dict(id=i, content=t, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
               for i, t in enumerate(SPECIAL)]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(SPECIAL + WORDS)}, "unk_token": "[UNK]"},
    }


def moved(parameters, by=0.2):
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in parameters:
            parameter += torch.randn(parameter.shape) * by


def with_peft(place):
    """Yields (case, direction, what gives our probabilities and theirs)."""
    import peft

    def base():
        return transformers.BertForSequenceClassification.from_pretrained(place.folder / "base", num_labels=2,
                                                                         ignore_mismatched_sizes=True)

    def written(name, options):
        place.train(name, options)
        model = peft.PeftModel.from_pretrained(base(), str(place.folder / name))
        return place.probabilities(name), place.theirs(model)

    def read(name, config):
        torch.manual_seed(3)
        model = peft.get_peft_model(base(), config)
        moved(parameter for parameter in model.parameters() if parameter.requires_grad)
        model.save_pretrained(str(place.folder / f"theirs_{name}"))
        return place.probabilities(f"theirs_{name}"), place.theirs(model)

    for name, options in TRAINED.items():
        yield name, "out", partial(written, name, options)

    common = dict(task_type="SEQ_CLS")
    virtual = dict(common, num_virtual_tokens=5)
    made = {
        "lora": peft.LoraConfig(r=3, lora_alpha=7, **common),
        "lora_all_linear": peft.LoraConfig(r=3, target_modules="all-linear", lora_bias=True, bias="all", **common),
        "lora_rank_stabilised": peft.LoraConfig(r=3, use_rslora=True, rank_pattern={"query": 2}, **common),
        "lora_embedding": peft.LoraConfig(r=3, target_modules=["word_embeddings", "query"], **common),
        "lora_pissa": peft.LoraConfig(r=3, init_lora_weights="pissa", **common),
        "lora_olora": peft.LoraConfig(r=3, init_lora_weights="olora", **common),
        "dora": peft.LoraConfig(r=3, use_dora=True, **common),
        "adalora": peft.AdaLoraConfig(init_r=4, target_r=2, total_step=10, **common),
        "ia3": peft.IA3Config(**common),
        "prefix": peft.PrefixTuningConfig(**virtual),
        "prefix_projection": peft.PrefixTuningConfig(prefix_projection=True, encoder_hidden_size=12, **virtual),
        "prompt": peft.PromptTuningConfig(**virtual),
        "ptuning_mlp": peft.PromptEncoderConfig(encoder_hidden_size=12, **virtual),
        "ptuning_lstm": peft.PromptEncoderConfig(encoder_hidden_size=12, encoder_reparameterization_type="LSTM", **virtual),
        "layernorm": peft.LNTuningConfig(target_modules=["LayerNorm"], **common),
    }
    for name, config in made.items():
        yield name, "in", partial(read, name, config)


def with_adapters(place):
    import adapters

    def base():
        config = transformers.BertConfig.from_pretrained(place.folder / "base")
        model = adapters.BertAdapterModel(config)
        weights = transformers.BertForSequenceClassification.from_pretrained(place.folder / "base").state_dict()
        missing, _ = model.load_state_dict({k: v for k, v in weights.items() if k.startswith("bert.")}, strict=False)
        assert all("position_ids" in key or "prompt_tuning" in key for key in missing), missing
        return model

    def written(name, options, convert):
        folder = f"hub_{name}"
        place.train(folder, options)
        if convert:
            place.run("convert", "--adapter", folder, "--to", "adapterhub", "--output", f"{folder}_converted")
            folder = f"{folder}_converted"
        model = base()
        model.set_active_adapters(model.load_adapter(str(place.folder / folder), use_safetensors=True))
        return place.probabilities(folder), place.theirs(model)

    def read(name, config, layers, safe):
        torch.manual_seed(3)
        model = base()
        model.add_adapter("a", config=config)
        model.add_classification_head("a", num_labels=2, layers=layers, use_pooler=layers == 1)
        model.set_active_adapters("a")
        parts = ("adapters.", "loras.", "shared_parameters.", "heads.")
        moved(p for key, p in model.named_parameters() if any(part in key for part in parts))
        model.save_adapter(str(place.folder / f"theirs_hub_{name}"), "a", use_safetensors=safe)
        return place.probabilities(f"theirs_hub_{name}"), place.theirs(model)

    def tagging():
        place.train_tags("tags", "adapter --reduction-factor 4")
        model = base()
        model.set_active_adapters(model.load_adapter(str(place.folder / "tags"), use_safetensors=True))
        with torch.no_grad():
            logits = [model.eval()(**inputs).logits[0, 1:-1] for inputs in place.inputs()]
        ours = place.tags("tags")
        assert 0 < ours.sum() < len(ours), "every word has the same tag"
        return ours, (torch.cat(logits).argmax(-1) == 0).float()

    yield "tags", "out", tagging
    for name, (options, convert) in TRAINED_FOR_HUB.items():
        yield name, "out", partial(written, name, options, convert)

    made = {
        "seq_bn": adapters.SeqBnConfig(reduction_factor=4),
        "double_seq_bn": adapters.DoubleSeqBnConfig(reduction_factor=4),
        "par_bn": adapters.ParBnConfig(),
        "scaled_par_bn": adapters.ParBnConfig(scaling="learned"),
        "compacter": adapters.CompacterConfig(reduction_factor=4),
        "lora": adapters.LoRAConfig(r=3, alpha=7, output_lora=True),
        "ia3": adapters.IA3Config(),
    }
    for index, (name, config) in enumerate(made.items()):
        # Either of the two heads that are a BERT's own, and either format of the files.
        yield name, "in", partial(read, name, config, 1 + index % 2, index % 3 > 0)


def main(program):
    failed, checked = 0, 0
    print(f"{'library':<9} {'case':<21} {'':<4} {'difference':>10}")
    for library, check in ("peft", with_peft), ("adapters", with_adapters):
        try:
            version = __import__(library).__version__
        except ImportError as error:
            print(f"{library}: skipped, {error}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            for name, direction, compute in check(Place(folder, program)):
                try:
                    ours, theirs = compute()
                    difference, said = (ours - theirs).abs().max().item(), ""
                except Exception as error:
                    difference, said = float("inf"), f" {type(error).__name__}: {error}"
                # What is no number is no agreement.
                passed = difference <= BOUND
                failed, checked = failed + (not passed), checked + 1
                verdict = "" if passed else f"  DIFFERS{said}"
                print(f"{library:<9} {name:<21} {direction:<4} {difference:>10.1e}{verdict}", flush=True)
        print(f"{library} {version}, torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"{checked} compared, {failed} differ")
    return failed > 0 or not checked


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    transformers.logging.set_verbosity_error()
    sys.exit(main(sys.argv[1]))
