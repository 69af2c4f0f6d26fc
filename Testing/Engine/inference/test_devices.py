"""GPUs that PyTorch finds but does not run on, made up by replacing what torch.cuda says."""

import numpy as np
import pytest
import torch

from Engine.made_images import blob
from upgan.errors import DeviceError
from upgan.images.volume import Volume
from upgan.inference import devices as module
from upgan.inference.devices import choose_device, devices
from upgan.inference.engine import InferenceEngine

NO_KERNEL = "CUDA error: no kernel image is available for execution on the device\nCompile with TORCH_USE_CUDA_DSA."
OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver."


@pytest.fixture(autouse=True)
def _forget():
    """What was tried once is remembered; each test makes up its own machine."""
    caches = (module._gpu_problem, module._start_problem)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def machine(monkeypatch):
    """Make up a machine: an error per GPU (None for one that computes), and what CUDA's start says of none."""

    def make(*errors: str | None, start: str | None = None, build: str | None = "12.8") -> list[int]:
        ones, tried = torch.ones, []

        def ones_on(*shape, device=None, **options):
            if device is None or device.type == "cpu":
                return ones(*shape, **options)
            if errors[device.index]:
                raise RuntimeError(errors[device.index])
            tried.append(device.index)
            return ones(*shape)

        def init():
            raise RuntimeError(start)

        monkeypatch.setattr(torch, "ones", ones_on)
        monkeypatch.setattr(torch.version, "cuda", build)
        for name, value in {
            "is_available": lambda: bool(errors),
            "device_count": lambda: len(errors),
            "init": init,
            "get_arch_list": lambda: ["sm_75", "sm_90"],
            "get_device_name": lambda index: f"NVIDIA Model {index}",
            "get_device_capability": lambda index: (6, 1),
            "mem_get_info": lambda index: (10 * 2**30, 12 * 2**30),
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        return tried

    return make


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_gpu_without_kernels_falls_back_to_the_cpu_and_says_cause_and_remedy(machine, name):
    machine(NO_KERNEL)
    device, warning = choose_device(name)
    assert device == torch.device("cpu")
    for cause in (
        "CUDA 12.8",
        "sm_75 sm_90",
        "NVIDIA Model 0 (compute capability 6.1)",
        "no kernel image is available",
    ):
        assert cause in warning
    assert "Install a PyTorch build that fits" in warning
    assert warning.endswith("The CPU is used instead.")
    assert "\n" not in warning


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:1"])
def test_a_driver_that_is_too_old_falls_back_to_the_cpu_too(machine, name):
    machine(start=OLD_DRIVER)
    device, warning = choose_device(name)
    assert device == torch.device("cpu")
    assert "driver on your system is too old (found version 11040)" in warning
    assert "Install a PyTorch build that fits the GPU and its driver" in warning


def test_auto_takes_the_first_gpu_that_computes(machine):
    machine(NO_KERNEL, None, None)
    assert choose_device("auto") == (torch.device("cuda", 1), "")
    assert choose_device("cuda:2") == (torch.device("cuda", 2), "")


def test_each_gpu_is_tried_once(machine):
    tried = machine(None)
    for _ in range(3):
        choose_device("auto")
    assert tried == [0, 0]  # image and kernel of one convolution


def test_a_full_gpu_is_no_misfit(machine):
    machine("CUDA out of memory. Tried to allocate 2.00 MiB.")
    assert choose_device("cuda") == (torch.device("cuda"), "")


@pytest.mark.parametrize(
    ("start", "build"),
    [("Found no NVIDIA driver on your system.", "12.8"), ("No CUDA GPUs are available", "12.8"), ("never asked", None)],
)
def test_a_machine_without_a_gpu_needs_no_warning_and_refuses_one_by_name(machine, start, build):
    machine(start=start, build=build)
    assert choose_device("auto") == (torch.device("cpu"), "")
    assert [device.name for device in devices()] == ["cpu"]
    with pytest.raises(DeviceError) as refusal:
        choose_device("cuda")
    assert refusal.value.code == "no_cuda"


def test_a_gpu_that_is_not_there_is_refused_beside_one_that_is(machine):
    machine(None)
    with pytest.raises(DeviceError) as refusal:
        choose_device("cuda:1")
    assert refusal.value.code == "no_cuda"
    assert "1 usable" in refusal.value.sentence


def test_gpus_that_do_not_fit_are_listed_last_with_the_reason(machine):
    machine(NO_KERNEL, None)
    fits, cpu, misfit = devices()
    assert (fits.name, fits.description, fits.free, fits.problem) == ("cuda:1", "NVIDIA Model 1", 10 * 2**30, "")
    assert (cpu.name, cpu.problem) == ("cpu", "")
    assert misfit.name == "cuda:0"
    assert "no kernel image" in misfit.problem
    assert misfit.free is None


def test_the_reason_goes_into_the_warnings_of_a_translation(machine, tiny_bundle):
    volume = Volume(blob(), np.diag([2.0, 2.0, 2.0, 1.0]))
    machine(NO_KERNEL)
    engine = InferenceEngine(tiny_bundle, "cuda")
    provenance = engine.translate(volume).provenance
    assert provenance["device"] == "cpu"
    assert provenance["warnings"] == engine.warnings(volume) == [choose_device("cuda").warning]


def test_info_lists_a_gpu_that_does_not_fit(machine, run):
    machine(NO_KERNEL)
    outcome = run("info")
    assert outcome.code == 0
    assert "device  cuda:0: NVIDIA Model 0 (compute capability 6.1): This PyTorch (" in outcome.out
    assert "device  cpu: CPU" in outcome.out
