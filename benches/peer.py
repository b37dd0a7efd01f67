"""The worker's peer on PyTorch and Hugging Face PEFT: the same specs, the same lines, the same answers (README.md)."""

import json
import os
import pathlib
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import torch  # noqa: E402
import transformers  # noqa: E402

import peer_methods  # noqa: E402

HERE = pathlib.Path(__file__).parent
MAX_NORM = 1.0
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01
CLASSES = 2
FIRST_WORD = 10  # Ids below this are special tokens.
IGNORED = -100
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def build(spec):
    """The base model of a shape, with random weights, or of a folder."""
    attention = spec.get("peer", "torch-eager").removeprefix("torch-").replace("compile", "sdpa")
    folder = pathlib.Path(spec["model"])
    if folder.is_dir():
        return transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=CLASSES, attn_implementation=attention, dtype=torch.float32)
    shape = dict(json.loads((HERE / "shapes.json").read_text())[spec["model"]])
    dropout = spec.get("dropout", 0.0)
    if shape.pop("model_type") == "t5":
        config = transformers.T5Config(**shape, dropout_rate=dropout)
        config._attn_implementation = attention
        return transformers.T5ForConditionalGeneration(config)
    config = transformers.BertConfig(
        **shape, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, num_labels=CLASSES)
    config._attn_implementation = attention
    return transformers.BertForSequenceClassification(config)


def random_batch(spec, config):
    """A batch of random ids, its shortest row of `fill` of the length."""
    rows, width, fill = spec.get("batch", 16), spec.get("sequence", 128), spec.get("fill", 1.0)
    share = [1.0 - (1.0 - fill) * row / max(rows - 1, 1) for row in range(rows)]
    real = torch.tensor([max(round(width * part), 1) for part in share])
    batch = {
        "input_ids": torch.randint(FIRST_WORD, config.vocab_size, (rows, width)),
        "attention_mask": (torch.arange(width)[None] < real[:, None]).long(),
    }
    if config.model_type == "t5":
        batch["labels"] = torch.randint(FIRST_WORD, config.vocab_size, (rows, spec.get("target", 32)))
    else:
        batch["labels"] = torch.arange(rows) % CLASSES
    return batch


class Texts:
    """Labelled texts, and which of them are a batch: as the other side has written it down."""

    def __init__(self, spec):
        self.spec, self.batch = spec["texts"], spec.get("batch", 16)
        lines = pathlib.Path(self.spec["data"]).read_text(encoding="utf-8").splitlines()[1:]
        rows = [line.split("\t") for line in lines[: self.spec.get("rows")]]
        names = sorted({row[1] for row in rows})
        self.texts, self.labels = [row[0] for row in rows], [names.index(row[1]) for row in rows]
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(spec["model"])
        self.epochs = json.loads(pathlib.Path(self.spec["batches"]).read_text()) if self.spec.get("batches") else []

    def tokenised(self, texts):
        return self.tokenizer(texts, truncation=True, max_length=self.spec["max_length"])

    def padded(self, encoded, rows):
        chosen = {name: [values[row] for row in rows] for name, values in encoded.items()}
        batch = dict(self.tokenizer.pad(chosen, return_tensors="pt"))
        return batch | {"labels": torch.tensor([self.labels[row] for row in rows])}

    def first(self):
        rows = range(min(self.batch, len(self.texts)))
        return self.padded(self.tokenised([self.texts[row] for row in rows]), rows)


class Subject:
    """A model, what is trained of it, and a batch."""

    def __init__(self, spec):
        torch.manual_seed(0)
        self.device = torch.device("cuda" if spec.get("backend") == "cuda" else "cpu")
        # Adapters stay in f32 beside a base in half precision: Hugging Face PEFT's own rule.
        base = build(spec).to(device=self.device, dtype=DTYPES[spec.get("dtype", "f32")])
        if spec.get("gradient_checkpointing"):
            base.gradient_checkpointing_enable({"use_reentrant": False})
        self.texts = Texts(spec) if spec.get("texts") else None
        self.batch = self.texts.first() if self.texts else random_batch(spec, base.config)
        self.model, self.after_backward, self.after_step = peer_methods.apply(base, spec)
        self.model.to(self.device)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.call = torch.compile(self.model) if spec.get("peer") == "torch-compile" else self.model
        self.batch = self.here(self.batch)
        self.optimizer = None
        self.steps = 0

    def here(self, batch):
        return {name: values.to(self.device) for name, values in batch.items()}

    def finish(self):
        """A GPU works on after it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def step(self, batch=None):
        """Forward, loss, backward, clipping by the global norm, AdamW."""
        if self.optimizer is None:
            self.model.train()
            # As Hugging Face's Trainer: fused, and vectors are not decayed.
            groups = [{"params": [p for p in self.trained if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
                      {"params": [p for p in self.trained if p.dim() <= 1], "weight_decay": 0.0}]
            self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)
        start = time.perf_counter()
        loss = self.call(**(batch or self.batch)).loss
        value = loss.item()
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        self.after_backward()
        torch.nn.utils.clip_grad_norm_(self.trained, MAX_NORM)
        self.optimizer.step()
        self.steps += 1
        self.after_step(self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        self.finish()
        end = time.perf_counter()
        if not value == value:
            raise ValueError("the loss is not a number")
        return {"ms": 1e3 * (end - start), "forward_ms": 1e3 * (forward - start),
                "backward_ms": 1e3 * (backward - forward), "loss": value}

    def forward(self):
        """A forward pass without a graph."""
        self.model.eval()
        self.optimizer = None
        start = time.perf_counter()
        with torch.inference_mode():
            self.call(**self.batch)
        self.finish()
        return {"ms": 1e3 * (time.perf_counter() - start)}

    def epoch(self, number):
        """A pass over the texts, from their tokenisation on."""
        start = time.perf_counter()
        encoded = self.texts.tokenised(self.texts.texts)
        tokenised = time.perf_counter()
        batches = self.texts.epochs[number]
        loss = sum(self.step(self.here(self.texts.padded(encoded, rows)))["loss"] for rows in batches)
        return {"ms": 1e3 * (time.perf_counter() - start), "tokenise_ms": 1e3 * (tokenised - start),
                "steps": len(batches), "tokens": sum(map(len, encoded["input_ids"])), "loss": loss / len(batches)}


def peak_mib():
    """The peak of the resident set (`VmHWM`); null where the system does not tell."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


def gpu_mib():
    """The peak of what PyTorch allocated on the GPU."""
    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None


def say(answer):
    print(json.dumps(answer), flush=True)


def main():
    spec = json.loads(sys.argv[1])
    torch.set_num_threads(spec.get("threads") or os.cpu_count())
    transformers.logging.set_verbosity_error()
    subject = Subject(spec)
    say({"ready": peer_methods.versions(), "trained": sum(p.numel() for p in subject.trained), "rss_mib": peak_mib()})
    for line in sys.stdin:
        match line.split():
            case ["run"]:
                say(subject.step())
            case ["forward"]:
                say(subject.forward())
            case ["epoch", number]:
                say(subject.epoch(int(number)))
            case ["end"]:
                break
            case _:
                sys.exit(f"`{line.strip()}` is none of run, forward, epoch N and end")
    say({"peak_rss_mib": peak_mib(), "peak_gpu_mib": gpu_mib()})


if __name__ == "__main__":
    main()
