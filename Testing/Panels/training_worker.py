"""A worker that makes up trainings: it speaks the protocol and keeps a run's folder as the real one does.

Options come from ``config["made_up"]``: ``steps`` until it is finished, ``refuse`` with a code, ``die`` at a step.
"""

import argparse
import json
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from filelock import FileLock

STEP_S = 0.02


class Interrupted(Exception):  # noqa: N818
    pass


class MadeUpWorker:
    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.cancelled: set[int] = set()
        self.number = 0
        self.closing = False

    def say(self, event: str, number: int | None = None, **content: Any) -> None:
        os.write(1, (json.dumps({"event": event, "id": number, **content}) + "\n").encode())

    def read(self) -> None:
        for line in sys.stdin:
            request = json.loads(line)
            if request["command"] == "cancel":
                self.cancelled.add(request["id"])
            elif request["command"] == "shutdown":
                break
            else:
                self.waiting.put(request)
        self.closing = True
        self.waiting.put(None)

    def run(self) -> None:
        self.say("ready", protocol=1, engine_version="0", pid=os.getpid())
        threading.Thread(target=self.read, daemon=True).start()
        while (request := self.waiting.get()) is not None:
            self.number = request["id"]
            try:
                self.report("starting", 0.0)
                result = getattr(self, request["command"])(**request["arguments"])
            except Interrupted:
                self.say("cancelled", self.number)
            except ValueError as error:
                self.say("error", self.number, code=str(error), sentence="Made up.", remedy="None.")
            else:
                self.say("result", self.number, result=result)

    def report(self, stage: str, fraction: float) -> None:
        self.say("progress", self.number, stage=stage, fraction=fraction, elapsed_s=1.0, remaining_s=2.0)
        if self.number in self.cancelled or self.closing:
            raise Interrupted

    def check_data(self, config: dict[str, Any], thumbnails: str) -> dict[str, Any]:
        (Path(thumbnails) / "a.png").write_bytes(b"a patient")
        for i in range(config.get("made_up", {}).get("steps", 1)):
            self.report("checking patient 1 of 1", 0.0)
            time.sleep(STEP_S if i else 0)
        return {"pairs": [{"thumbnails": {"input": f"{thumbnails}/a.png"}}]}

    def train(self, config: dict[str, Any], folder: str) -> dict[str, Any]:
        Path(folder, "config.json").write_text(json.dumps(config))
        refusal = config.get("made_up", {}).get("refuse")
        if refusal:
            raise ValueError(refusal)
        Path(folder, "data.json").write_text("{}")
        return self.resume_training(folder)

    def resume_training(self, folder: str, data: str | None = None) -> dict[str, Any]:
        return self.go_on(Path(folder), data)

    def go_on(self, folder: Path, data: str | None) -> dict[str, Any]:
        config = json.loads((folder / "config.json").read_text())
        options = config.get("made_up", {})
        self.find_images(folder, data)
        last = folder / "checkpoints" / "last.safetensors"
        last.parent.mkdir(exist_ok=True)
        step, length = json.loads(last.read_text()) if last.exists() else (0, 0)
        with FileLock(folder / "run.lock", blocking=False):
            journal = folder / "journal.jsonl"
            journal.touch()
            os.truncate(journal, length)
            try:
                while step < options.get("steps", 10**6):
                    step += 1
                    self.write(journal, step)
                    if step == 1:
                        last.write_text(json.dumps([step, journal.stat().st_size]))
                    if step == options.get("die"):
                        (folder / "config.json").write_text(json.dumps({**config, "made_up": {}}))
                        os.kill(os.getpid(), signal.SIGKILL)
                    self.report("phase 1 of 1, epoch 1 of 1", 0.5)
                    time.sleep(STEP_S)
            except Interrupted:
                # Longer than a worker may usually take to end.
                time.sleep(0.6)
                last.write_text(json.dumps([step, journal.stat().st_size]))
                raise
            (folder / "finished.json").write_text(json.dumps({"seconds": 1.0, "best": None, "stopped": False}))
        return {"folder": str(folder), "finished": True}

    def find_images(self, run: Path, data: str | None) -> None:
        if (run / "moved").exists():
            if data is None:
                raise ValueError("images_not_found")
            (run / "moved").write_text(data)

    def write(self, journal: Path, step: int) -> None:
        line = {"kind": "steps", "stage": 1, "stages": 1, "step": step, "loss": 1 / step, "pid": os.getpid()}
        with journal.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def finish_training(self, folder: str) -> dict[str, Any]:
        (Path(folder) / "finished.json").write_text(json.dumps({"seconds": 1.0, "best": None, "stopped": True}))
        return {"folder": folder, "finished": True}

    def create_model(self, run: str, checkpoint: str, name: str, data: str | None = None) -> dict[str, Any]:
        self.find_images(Path(run), data)
        for _ in range(3 if checkpoint == "best" else 10**6):
            self.report("measuring on the test patients", 0.5)
            time.sleep(STEP_S)
        return {"name": name, "origin": "trained", "folder": run, "pid": os.getpid()}

    def start_config(self, preset: str, base: str | None) -> dict[str, Any]:
        return {"preset": preset, "base": base}

    def info(self) -> dict[str, Any]:
        return {"devices": [{"name": "cpu"}]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--grace")
    MadeUpWorker(parser.parse_args().scratch).run()
