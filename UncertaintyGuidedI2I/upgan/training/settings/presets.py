"""Three ways to start: as the paper did, in about an hour, or from a model that exists. Values over the defaults."""

from __future__ import annotations

from typing import Any, Literal, get_args

from upgan.errors import InputError

PresetName = Literal["paper", "quick", "fine-tune"]

# Paired changes that a head's position in the scanner explains: it is symmetric, tilted by a few degrees, and people's
# heads differ by a few per cent.
_AUGMENTATION = {"flip": 0.5, "rotation_degrees": 5.0, "scale": 0.05, "surroundings": 1.0}

# The likelihood alone abandons bone and air cavities, for most of a slice is background: 132-139 HU with these two
# against 163-168 HU without, after 250 steps on simulated heads. There l1 was 5 and averaged over the whole slice, of
# which the dilated body is 42 %: 5 · (0.42 + 0.02 · 0.58) = 2.2 beside Eq. 1, pixel by pixel. With both of them Eq. 1
# still neglects where it doubts; weighed by σ it does not, and one network errs a tenth less: see
# Documentation/Evidence.md.
_LOSS = {"form": "beta_nll", "l1": 2.2, "outside_body": 0.02}

# Some 25 patients of 40 slices in batches of 8. An epoch of fixed length costs the same with any number of patients.
_QUICK_EPOCH_STEPS = 125
# One phase: whatever was tried, a second one took its time from the first and gave less back, once the likelihood was
# weighed by σ (Documentation/Evidence.md). A step takes 0.15 s on two cores with AMX, so that it is 50 minutes and the
# validation. The phases of a base model share it.
_QUICK_PHASES = 1
_QUICK_EPOCHS = 160


def preset(name: PresetName, base: str | None = None) -> dict[str, Any]:
    """Return a preset's values, nested as in a configuration; what it does not name stays at the paper's default.

    Args:
        name: ``paper``, ``quick`` or ``fine-tune``.
        base: Model to go on from, which sets the number of phases; ``fine-tune`` needs one.

    Raises:
        InputError: ``unknown_preset`` or ``preset_needs_base``.
        BundleError: There is no such model, or it is damaged.
    """
    phases = _phases_of(base) if base else _QUICK_PHASES
    if name == "paper":
        values: dict[str, Any] = {
            "architecture": {"hand_over": "product", "residual": False, "from_input": False, "sigma_mean": "slice"},
        }
        if base:
            values["schedule"] = {"epochs": [1000] * phases}
    elif name == "quick":
        values = _quick(phases)
    elif name == "fine-tune":
        if not base:
            raise InputError(
                "preset_needs_base", "Fine-tuning goes on from a model, and none is named.", "Name a model as the base."
            )
        values = _fine_tune(phases)
    else:
        raise InputError(
            "unknown_preset", f"There is no preset '{name}'.", f"Choose {', '.join(get_args(PresetName))}."
        )
    if base:
        values["base"] = base
        values.pop("architecture", None)  # the base model brings its own
    return values


def _quick(phases: int) -> dict[str, Any]:
    return {
        # Less than a sixteenth of the paper's arithmetic; the bundled demonstration model has these sizes.
        "architecture": {"phases": phases, "width": 16, "deepest": 6},
        "augmentation": dict(_AUGMENTATION),
        # L1 first: an image of noise teaches α and β nothing.
        "loss": {**_LOSS, "l1_warm_up": 100},
        "discriminator": {"width": 16},
        "schedule": {
            "epochs": [_QUICK_EPOCHS // phases] * phases,
            "joint_epochs": 0,
            "epoch_steps": _QUICK_EPOCH_STEPS,
            # From 5e-4 to 2e-3 all is well; 5e-3 costs 100 HU.
            "learning_rate": 1e-3,
            # Adam's first steps are of full size whatever the gradient; without both of these 60 HU were lost.
            "warm_up": 20,
            "gradient_clip": 1.0,
            # A sixth of the stage: a cosine's last epochs gain most, so that less patience would miss them.
            "early_stopping": 25,
            # The mean over some 200 steps, one to two epochs: it smooths what single batches do, and forgets the start.
            "weight_averaging": 0.995,
        },
    }


def _fine_tune(phases: int) -> dict[str, Any]:
    return {
        # A little of everything: a handful of patients is soon learned by heart.
        "augmentation": {**_AUGMENTATION, "intensity": 0.05},
        # A new discriminator would have nothing to say in so few steps, and costs as much as a generator.
        "loss": {**_LOSS, "adversarial": 0.0},
        "schedule": {
            # Each phase has learned its part: only all together, at a tenth of the rate of a new model.
            "epochs": [0] * phases,
            "joint_epochs": 20,
            "joint_learning_rate": 2e-4,
            "warm_up": 20,
            "gradient_clip": 1.0,
            # What is learned by heart shows as a validation error that rises; the best epoch is kept.
            "early_stopping": 5,
            # Some 100 steps: a few epochs of a few patients.
            "weight_averaging": 0.99,
            # Statistics of a few heads are worse than those of the many that the base model saw.
            "freeze_normalisation": True,
        },
    }


def _phases_of(base: str) -> int:
    from upgan.bundles.library import find_bundle

    return find_bundle(base).metadata.upgan.architecture.phases
