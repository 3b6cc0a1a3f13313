import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qlab import graph


def save(folder, *, location="model.data", **options):
    """A product whose weights are stored in `location`, beside the model."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])]
    weights = [numpy_helper.from_array(np.ones((64, 64), np.float32), "w")]
    model = helper.make_model(helper.make_graph(nodes, "test", inputs, outputs, weights), ir_version=8)
    path = folder / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0, **options)
    return path


def relocate(path, location):
    model = onnx.load(path, load_external_data=False)
    next(entry for entry in model.graph.initializer[0].external_data if entry.key == "location").value = location
    path.write_bytes(model.SerializeToString())


def test_a_model_opens_and_its_external_weights_stay_outside(tmp_path):
    model = graph.load(save(tmp_path))
    assert model.graph.node[0].op_type == "MatMul"
    assert not model.graph.initializer[0].raw_data


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.onnx: no such model file"):
        graph.load(tmp_path / "nothing.onnx")


def test_a_truncated_file_is_refused(tmp_path):
    path = save(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="truncated, or not an ONNX file"):
        graph.load(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a model at all", b"\x08\x08"])
def test_a_file_without_a_graph_is_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.onnx: .*(not an ONNX file|no ONNX graph)"):
        graph.load(path)


@pytest.mark.parametrize("location", ["../secret.data", "/etc/hostname", "C:\\secret.data", "a/../../secret.data", ""])
def test_external_data_outside_the_models_folder_are_refused(tmp_path, location):
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.data").write_bytes(bytes(64 * 64 * 4))
    path = save(tmp_path / "inside")
    relocate(path, location)
    with pytest.raises(ValueError, match="outside the model's folder"):
        graph.load(path)


def test_a_link_that_leads_out_of_the_models_folder_is_refused(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.data").write_bytes(bytes(64 * 64 * 4))
    path = save(tmp_path / "inside")
    (path.parent / "link.data").symlink_to(tmp_path / "secret.data")
    relocate(path, "link.data")
    with pytest.raises(ValueError, match="outside the model's folder"):
        graph.load(path)


def test_external_data_in_a_folder_below_are_welcome(tmp_path):
    path = save(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "model.data").rename(tmp_path / "weights" / "model.data")
    relocate(path, "weights/model.data")
    assert graph.load(path)


def test_missing_external_data_are_named(tmp_path):
    path = save(tmp_path)
    (tmp_path / "model.data").unlink()
    with pytest.raises(FileNotFoundError, match=r"'model\.data' is missing"):
        graph.load(path)


def test_external_data_that_end_too_early_are_refused(tmp_path):
    path = save(tmp_path)
    (tmp_path / "model.data").write_bytes(b"short")
    with pytest.raises(
        ValueError, match=r"'model\.data' is truncated: it has 5 bytes, but tensor 'w' ends at byte 16,384"
    ):
        graph.load(path)


def test_a_model_as_text_is_told_how_to_become_binary(tmp_path):
    for name in ("m.json", "m.textproto", "m.onnxtxt"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(
            ValueError, match=rf"{name} is a model as text.*onnx\.save\(onnx\.load\('{name}'\), 'm\.onnx'\)"
        ):
            graph.load(tmp_path / name)


@pytest.mark.parametrize("path", [None, 5, b"model.onnx", onnx.ModelProto()])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match="expected the path of a file"):
        graph.load(path)


@pytest.mark.parametrize("name", [b"MatMul", b"test", b"weights.bin"])
def test_a_name_that_is_no_text_is_refused(name, tmp_path):
    path = save(tmp_path, location="weights.bin")
    content = path.read_bytes()
    assert name in content
    path.write_bytes(content.replace(name, name[:-1] + b"\xff"))
    with pytest.raises(ValueError, match=r"model\.onnx: damaged, the name b'.*\\xff' is no text \(UTF-8\)"):
        graph.load(path)


def test_functions_that_call_each_other_in_a_circle_are_refused(tmp_path):
    path = save(tmp_path)
    model = onnx.load(path, load_external_data=False)
    for name, other in (("F", "G"), ("G", "F")):
        function = model.functions.add(name=name, domain="own", input=["a"], output=["b"])
        function.node.append(helper.make_node(other, ["a"], ["b"], domain="own"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"functions call each other in a circle, [FG] -> [FG] -> [FG]"):
        graph.load(path)
    with pytest.raises(ValueError, match="functions cannot be put in their place"):
        graph.draw(onnx.load(path, load_external_data=False))


@pytest.mark.parametrize(
    ("entry", "value"),
    [("location", "loop.data"), ("location", "a" * 300), ("location", "w\0.data"), ("offset", "abc"), ("offset", "-4")],
)
def test_where_no_weights_can_be_the_model_is_called_damaged(entry, value, tmp_path):
    path = save(tmp_path)
    (tmp_path / "loop.data").symlink_to("loop.data")
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    stored = {one.key: one.value for one in tensor.external_data} | {entry: value}
    del tensor.external_data[:]
    for key, text in stored.items():
        tensor.external_data.add(key=key, value=text)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"model\.onnx: where tensor 'w' is stored cannot be read.*damaged"):
        graph.load(path)


@pytest.mark.parametrize("change", [{"data_type": 0}, {"data_type": 99}, {"dims": [-1, 64]}])
def test_a_tensor_that_no_array_can_be_is_refused(change, tmp_path):
    path = save(tmp_path)
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    for field in change:
        tensor.ClearField(field)
    tensor.MergeFrom(TensorProto(**change))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"model\.onnx: damaged, the tensor 'w' is of element type"):
        graph.load(path)
