"""The module's self-test, which Slicer runs, passes on the host too."""


def test_the_self_test_passes(host, warm_worker, module_widget):
    host.module("UncertaintyGuidedI2I").runTest()
    assert [message.text for message in host.messages if message.kind == "error"] == []
    assert host.messages[-1].text == "Test passed"
