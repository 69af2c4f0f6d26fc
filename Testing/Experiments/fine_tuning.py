"""What five heads of another scanner do for the bundled model, with the preset ``fine-tune`` as it is.

    PYTHONPATH=Testing python Testing/Experiments/fine_tuning.py build/fine-tuning [heads held out, 10]

simulates the heads (seeds 900 …, scanner ``SITE`` of Testing/Engine/training_runs.py), trains, makes the model as
``upgan bundle create`` does, and prints Markdown. About five minutes on two cores.
"""

import json
import sys
import time
from pathlib import Path

from Engine.training_runs import Onlooker, write_site
from upgan.bundles.bundle import Bundle
from upgan.training.model.export import export
from upgan.training.run.trainer import train
from upgan.training.settings.config import TrainingConfig
from upgan.training.settings.presets import preset

BASE = "pet-ct-phantom"


def main(folder: Path, held_out: int) -> None:
    heads = folder / "heads"
    heads.mkdir(parents=True)
    write_site(heads, 6 + held_out, slices=40)
    config = TrainingConfig.model_validate(
        {
            "name": "site",
            "data": {"path": str(heads)},
            "split": {"train": 5, "validation": 1, "test": held_out},
            "compute": {"device": "cpu"},
            **preset("fine-tune", BASE),
        }
    )
    onlooker, started = Onlooker(), time.monotonic()
    train(config, folder / "run", onlooker)
    seconds = time.monotonic() - started
    model = export(folder / "run", folder / "model", "", "1")
    print_epochs(onlooker)
    print_comparison(model, seconds)


def print_epochs(onlooker: Onlooker) -> None:
    print("| epoch | MAE on the validation head (HU) |\n|---|---|")
    for line in onlooker.of("validation"):
        last = line["phases"][max(line["phases"])]
        print(f"| {line['epoch']} | {last['mae']:.1f} |")


def print_comparison(model: Bundle, seconds: float) -> None:
    figures = model.metadata.upgan.figures
    last = figures["test"]["phases"][max(figures["test"]["phases"])]
    print(f"\n{figures['compared_with']['conclusion']}\n\n{seconds:.0f} s, {figures['training']['machine']}\n")
    print(json.dumps({name: value for name, value in last.items() if "coverage" in name}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10)
