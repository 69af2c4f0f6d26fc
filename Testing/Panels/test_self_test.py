"""The module's self-test, which Slicer runs, passes on the host too."""


def test_the_self_test_passes(host, warm_worker, module_widget):
    from UncertaintyGuidedI2I import UncertaintyGuidedI2ITest

    UncertaintyGuidedI2ITest().runTest()
    assert [message.text for message in host.messages if message.kind == "error"] == []
