"""One run of a recipe, from a checked input to a published output."""

from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from qlab import graph
from qlab.files import as_path
from qlab.recipes.fates import fates
from qlab.recipes.files import check_output, publish, stored_bytes, workshop, write, writing
from qlab.recipes.preparing import check_source, prepared_in
from qlab.recipes.quantized import Quantized


@dataclass
class Job:
    """What a recipe works with: the pre-processed model at `prepared`, room for files in `folder`, notes to report."""

    recipe: str
    model: Path
    output: Path
    source: onnx.ModelProto
    folder: Path
    prepared: Path
    notes: list[str] = field(default_factory=list)

    def finish(self, result, choice, *, op_types, per_channel, exclude=None):
        """Check the quantized ModelProto `result`, move it to the output, and say what was done: a Quantized."""
        properties = {entry.key: entry.value for entry in self.source.metadata_props}
        onnx.helper.set_model_props(result, properties | {"qlab.recipe": self.recipe})
        place = self.folder / "finished"
        with writing(self.output):
            place.mkdir()
            path = write(result, place, self.output.name)
            size = stored_bytes(path, result)
        optimized = graph.optimized(path)  # also the proof that onnxruntime accepts it
        before = onnx.load(self.prepared, load_external_data=False)
        with writing(self.output):
            publish(path, self.output)
        return Quantized(
            path=self.output,
            recipe=self.recipe,
            choice=choice,
            per_channel=per_channel,
            size_mb=size / 1e6,
            original_mb=stored_bytes(self.model, self.source) / 1e6,
            products=tuple(fates(before, result, optimized, op_types, exclude or {})),
            census=graph.count(optimized),
            notes=tuple(self.notes),
        )


@contextmanager
def job(recipe, model, output):
    """A Job whose folder is gone at the end of the block; input and output are checked before anything is made."""
    model, source = as_path(model), check_source(model)
    output = check_output(output, model, source)
    with workshop(output) as folder:
        with writing(output):
            prepared, notes = prepared_in(folder, model, source)
        yield Job(recipe, model, output, source, folder, prepared, notes)
