from importlib.metadata import version

import lstmgan_dist


def test_the_installed_version_is_the_one_in_the_source():
    assert version("lstmgan-dist") == lstmgan_dist.__version__
