"""From trained or bare PyTorch modules to the ONNX files in data/models."""

import hashlib
import math
from pathlib import Path

import onnx
import torch
from onnx import TensorProto

from data.build import CACHE
from data.build.conformer import Conformer, Size
from data.build.digits import DigitsNet
from data.build.face_net import TalkingFace
from data.build.face_unet import FaceUNet
from qlab.models.face import VECTORS
from qlab.models.heads import SIZE

DATA = Path(__file__).parents[1]
MODELS = DATA / "models"
OPSET = 18
AISHELL = Size(width=256, heads=4, feed_forward=2048, blocks=12, kernel=15, tokens=4233)
# Elements up to which what is no layer's weight keeps its values in a skeleton: normalization statistics, frequencies,
# shapes, scalars.
SMALL = 128


def to_onnx(module, arguments, inputs, outputs, dynamic=None):
    """The module as a ModelProto, BatchNorm folded, without the exporter's notes (they hold this machine's paths)."""
    program = torch.onnx.export(
        module.eval(), arguments, dynamo=True, opset_version=OPSET, verbose=False,
        input_names=inputs, output_names=outputs, dynamic_shapes=dynamic,
    )  # fmt: skip
    model = program.model_proto
    for owner in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output,
                  *model.graph.value_info, *model.graph.initializer):  # fmt: skip
        del owner.metadata_props[:]
        owner.doc_string = ""
    model.producer_name, model.producer_version = "quantization-lab", ""
    onnx.checker.check_model(model, full_check=True)
    return model


def conformer(size, state=None):
    """The speech model as ONNX; `state` is a state_dict, or None for a skeleton's source."""
    torch.manual_seed(0)
    module = Conformer(size)
    if state is not None:
        module.load_state_dict(state)
    model = to_onnx(
        module,
        (torch.randn(2, 123, 80), torch.tensor([123, 77])),
        ["speech", "speech_lengths"],
        ["encoder_out", "encoder_out_lens", "ctc_log_probs"],
        ({0: "batch", 1: "frames"}, {0: "batch"}),
    )
    for output in model.graph.output:
        if output.name != "encoder_out_lens":
            # The exporter's own name is a formula; two outputs that share one name share their length.
            output.type.tensor_type.shape.dim[1].dim_param = "encoder_frames"
    return model


def skeleton(model):
    """Drop the values of weights and of other large float initializers, keeping name, type and shape."""
    layers = {name for node in model.graph.node if node.op_type in {"Conv", "Gemm", "MatMul"} for name in node.input}
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and (tensor.name in layers or math.prod(tensor.dims) > SMALL):
            bare = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            tensor.CopyFrom(bare)
    model.metadata_props.add(key="qlab.weights", value="none: filled from a seed by qlab.models")
    return model


def averaged_state(name):
    """The running average of the weights of a trained model, "conformer" or "face"."""
    saved = torch.load(CACHE / f"{name}.pt")["average"]
    return {name.removeprefix("module."): tensor for name, tensor in saved.items() if name != "n_averaged"}


def write(name, model):
    """Save data/models/<name>.onnx through a temporary file."""
    MODELS.mkdir(exist_ok=True)
    temporary = MODELS / f"{name}.onnx.tmp"
    temporary.write_bytes(model.SerializeToString(deterministic=True))
    temporary.rename(MODELS / f"{name}.onnx")
    print(f"{name}.onnx: {(MODELS / f'{name}.onnx').stat().st_size / 1e6:.2f} MB", flush=True)


def write_checksums():
    """data/SHA256SUMS, in the form that `sha256sum -c` reads: every file that qlab opens."""
    patterns = ("models/*.onnx", "models/*.txt", "speech/**/*.flac", "speech/*.tsv", "face/*", "machines/*.json")
    files = sorted(path for pattern in patterns for path in DATA.glob(pattern))
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(DATA).as_posix()}\n" for path in files
    ]
    (DATA / "SHA256SUMS").write_text("".join(lines))


def trained():
    """Write the trained models of speech and digits, and the speech model's units."""
    from data.build.train_conformer import SIZE, WORDS

    write("conformer", conformer(SIZE, averaged_state("conformer")))
    units = "".join(f"{word} {index}\n" for index, word in enumerate(WORDS))
    (MODELS / "conformer.units.txt").write_text(units)
    state = torch.load(CACHE / "digits.pt")
    digits = DigitsNet(state["stem.0.weight"].shape[0])
    digits.load_state_dict(state)
    write("digits", to_onnx(digits, (torch.rand(2, 1, 8, 8),), ["images"], ["logits"], ({0: "n"},)))


def face():
    """Write the trained talking face."""
    module = TalkingFace()
    module.load_state_dict(averaged_state("face"))
    inputs = torch.randn(2, 144, VECTORS), torch.rand(2, 6, SIZE, SIZE)
    write("face", to_onnx(module, inputs, ["audio", "face"], ["picture"], ({0: "batch"}, {0: "batch"})))


def skeletons():
    """Write the two full-size models without their weights."""
    write("conformer_full", skeleton(conformer(AISHELL)))
    face = (torch.randn(1, 128, 16, 32), torch.randn(1, 6, 160, 160))
    write("face_unet_full", skeleton(to_onnx(FaceUNet(), face, ["audio", "face"], ["picture"])))
