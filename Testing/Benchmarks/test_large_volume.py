"""What the largest volume that is promised costs: 512×512×400 voxels on one core, with the files it becomes."""

from Engine.inference.test_memory import translate_large_volume


def test_a_large_volume_needs_less_than_four_gigabytes_and_a_minute_of_one_core(benchmark, tmp_path, record_property):
    used = benchmark.pedantic(translate_large_volume, args=(tmp_path, 400), rounds=1)
    for name, value in used.items():
        record_property(name, value)
    assert used["peak"] < 4e9
    assert used["cpu"] < 60
