"""Where a recipe works and how its result reaches its place: written beside, checked, then renamed."""

from contextlib import ExitStack, contextmanager
from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from qlab import graph
from qlab.files import check_target, scratch

# A protobuf message ends at 2**31 bytes. Well below that, weights move to a file beside the model.
LARGE = 1_500_000_000


def check_output(output, model, source):
    """`output` as a Path, if a recipe may write there without harm to `model`, whose ModelProto is `source`."""
    output, model = check_target(output), Path(model)
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{output}: there is no folder {output.parent}; make it first")
    check_target(data_file(output))
    kept = [model, *(model.parent / location for location in external_files(source))]
    for target in (output, data_file(output)):
        if target.exists() and any(target.samefile(file) for file in kept):
            raise ValueError(f"writing {output} would overwrite the model that is read, {target}: choose another name")
    return output


def external_files(model):
    """Names of the files, relative to the model's own, that hold its weights."""
    return {ExternalDataInfo(tensor).location for tensor in graph.tensors(model) if uses_external_data(tensor)}


def stored_bytes(path, model):
    """Bytes of a model file and of the files that hold its weights."""
    return sum(Path(file).stat().st_size for file in (path, *(path.parent / name for name in external_files(model))))


def data_file(output):
    """Where the weights of a large model are stored: beside it."""
    return output.with_name(f"{output.name}.data")


@contextmanager
def workshop(output):
    """A folder beside `output`, on the same disk, that is gone afterwards, whatever happens."""
    with ExitStack() as stack:
        with writing(output):
            folder = stack.enter_context(scratch(output.parent))
        yield folder


@contextmanager
def writing(output):
    """Turn what a full disk or a forbidden folder does to the block into a ValueError that says so."""
    try:
        yield
    except FileNotFoundError:  # of what is read, and says so itself
        raise
    except OSError as error:
        raise ValueError(
            f"cannot write {output}: {error}. Is the disk full, or the folder write-protected? Nothing was left behind"
        ) from error


def write(model, folder, name):
    """Write the ModelProto `model` as `folder / name`; a large one with its weights in a second file."""
    path = folder / name
    if sum(len(tensor.raw_data) for tensor in graph.tensors(model)) > LARGE:
        onnx.save(model, path, save_as_external_data=True, location=data_file(path).name, convert_attribute=False)
    else:
        onnx.save(model, path)
    return path


def publish(path, output):
    """Move a finished model, and the file with its weights if it has one, to `output`: each by one renaming."""
    if data_file(path).exists():
        data_file(path).replace(data_file(output))
    path.replace(output)
    return output
