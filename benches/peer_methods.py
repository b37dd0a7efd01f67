"""The methods of `src/methods.rs` as Hugging Face PEFT has them, with the same settings; those it has not, in plain PyTorch."""

import peft
import torch
import transformers

TOTAL_STEPS = 200
VIRTUAL_TOKENS = 20
KEEP_RATIO = 0.005
REDUCTION = 16


def versions():
    return f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"


def config(method, is_t5, dropout):
    """PEFT's configuration, or None for a method that it has not."""
    attention = {"target_modules": ["q", "v"] if is_t5 else ["query", "value"]}
    low_rank = attention | {"r": 8, "lora_alpha": 16, "lora_dropout": dropout}
    task = {"task_type": "SEQ_2_SEQ_LM" if is_t5 else "SEQ_CLS"}
    virtual = task | {"num_virtual_tokens": VIRTUAL_TOKENS}
    match method:
        case "lora":
            return peft.LoraConfig(**task, **low_rank)
        case "dora":
            return peft.LoraConfig(**task, **low_rank, use_dora=True)
        case "adalora":
            return peft.AdaLoraConfig(
                **task, **attention, init_r=12, target_r=8, lora_alpha=24, lora_dropout=dropout, tinit=0,
                tfinal=TOTAL_STEPS // 3, total_step=TOTAL_STEPS)
        case "ia3":
            targets = ["k", "v", "wo"] if is_t5 else ["key", "value", "output.dense"]
            return peft.IA3Config(**task, target_modules=targets, feedforward_modules=targets[2:])
        case "prefix":
            return peft.PrefixTuningConfig(**virtual)
        case "prompt":
            return peft.PromptTuningConfig(**virtual)
        case "ptuning":
            return peft.PromptEncoderConfig(**virtual, encoder_hidden_size=128)
        case "layernorm":
            targets = ["layer_norm", "final_layer_norm"] if is_t5 else ["LayerNorm"]
            return peft.LNTuningConfig(**task, target_modules=targets)
    return None


def nothing(*_):
    pass


def apply(model, spec):
    """The model that is trained, what follows each backward pass, and what follows each step of the optimizer."""
    method, is_t5 = spec["method"], model.config.model_type == "t5"
    if method == "base":
        return model.requires_grad_(False), nothing, nothing
    wanted = config(method, is_t5, spec.get("dropout", 0.0))
    if wanted is not None:
        adapted = peft.get_peft_model(model, wanted)
        return adapted, nothing, adapted.base_model.update_and_allocate if method == "adalora" else nothing
    if method == "adapter":
        model.requires_grad_(False)
        (add_to_t5 if is_t5 else add_to_bert)(model, spec.get("dropout", 0.0))
        return with_head(model), nothing, nothing
    if method == "fish":
        return model, mask_of(model, spec), nothing
    return choose(model, method), nothing, nothing


def with_head(model):
    """A classifier is new, so it is trained beside whatever the method trains."""
    if hasattr(model, "classifier"):
        model.classifier.requires_grad_(True)
    return model


def choose(model, method):
    """A part of the model's own parameters."""
    if method == "full":
        return model
    model.requires_grad_(False)
    if method == "bitfit":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("bias"))
    elif method == "last-layers":
        stacks = [model.bert.encoder.layer] if hasattr(model, "bert") else [model.encoder.block, model.decoder.block]
        for layers in stacks:
            layers[-2:].requires_grad_(True)
    elif method != "head":
        raise SystemExit(f"no method `{method}` to measure")
    return with_head(model)


def mask_of(model, spec):
    """FISH (Sung et al. 2021) as its authors train it: all gradients, of which the mask keeps a part."""
    draw = torch.Generator().manual_seed(0)
    masks = [(p, torch.rand(p.shape, generator=draw) < KEEP_RATIO) for p in model.parameters()]

    def after_backward():
        for parameter, mask in masks:
            parameter.grad *= mask

    return after_backward


class Bottleneck(torch.nn.Module):
    """Down, ReLU, up, and the residual: AdapterHub's `seq_bn`."""

    def __init__(self, width, dropout):
        super().__init__()
        self.down = torch.nn.Linear(width, width // REDUCTION)
        self.up = torch.nn.Linear(width // REDUCTION, width)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, x, residual):
        return self.dropout(self.up(torch.relu(self.down(x)))) + residual


def add_to_bert(model, dropout):
    """After each feed-forward part, between the model's sum and norm and the same once more."""
    for layer in model.bert.encoder.layer:
        output = layer.output
        output.adapter = Bottleneck(model.config.hidden_size, dropout)

        def forward(hidden_states, input_tensor, output=output):
            h = output.dropout(output.dense(hidden_states))
            h = output.adapter(output.LayerNorm(h + input_tensor), h)
            return output.LayerNorm(h + input_tensor)

        output.forward = forward


def add_to_t5(model, dropout):
    """After each feed-forward part, whose norm stands in front of it."""
    for stack in (model.encoder, model.decoder):
        for block in stack.block:
            part = block.layer[-1]
            part.adapter = Bottleneck(model.config.d_model, dropout)

            def forward(hidden_states, part=part):
                h = part.dropout(part.DenseReluDense(part.layer_norm(hidden_states)))
                return part.adapter(h + hidden_states, h) + hidden_states

            part.forward = forward
