import os
import signal

import pytest

from lstmgan_dist.runtime.local import launch
from lstmgan_dist.runtime.signals import StopRequest, stop_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_asks_and_the_second_acts_as_ever(number):
    class KilledError(Exception):
        pass

    def kill(*_):
        raise KilledError

    before = signal.signal(number, kill)
    try:
        with stop_signals() as asked:
            assert asked.number is None
            os.kill(os.getpid(), number)
            assert asked.number == number
            with pytest.raises(KilledError):
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is kill
    finally:
        signal.signal(number, before)


def test_signal_reaches_the_run_of_this_process_as_a_request_to_stop():
    def run(runtime):
        before = runtime.stop_request()
        os.kill(os.getpid(), signal.SIGTERM)
        return before, runtime.stop_request()

    requests, asked = launch(run, "cpu")
    assert requests == (StopRequest.NONE, StopRequest.STOP)
    assert asked.number == signal.SIGTERM


def test_greatest_of_several_requests_counts():
    assert max(StopRequest.NONE, StopRequest.SAVE, StopRequest.STOP) is StopRequest.STOP
