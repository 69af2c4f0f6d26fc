"""Which models may translate an image together; needs no torch, so that a viewer can ask it."""

from __future__ import annotations

from upgan.bundles.metadata import BundleMetadata


def why_not_together(first: BundleMetadata, other: BundleMetadata) -> str:
    """Say why two models' results cannot be taken as one, or nothing where they can.

    They can where they translate the same into the same, in the same unit, and were trained in the same plane; pixel
    size, networks and training data may differ.

    Args:
        first: What a model says of itself.
        other: What another says.
    """
    tasks = [metadata.upgan.task for metadata in (first, other)]
    of_task = [
        (task.name, task.input_modality, task.output_modality, task.image_key, task.unit, task.output.relative)
        for task in tasks
    ]
    if of_task[0] != of_task[1]:
        what = " and ".join(
            f"'{metadata.name}' translates {task.title}" for metadata, task in zip((first, other), tasks, strict=True)
        )
        return f"The models have different tasks: {what}."
    if first.upgan.plane != other.upgan.plane:
        return (
            f"The models were trained in different planes: '{first.name}' on {first.upgan.plane} slices, "
            f"'{other.name}' on {other.upgan.plane} ones."
        )
    return ""
