import io

import pytest
from rich.console import Console

from lstmgan_dist.training.screen import Message, Relay, Terminal, replay


@pytest.fixture
def messages() -> list[Message]:
    return []


def test_ticks_that_come_fast_are_one_message_and_the_last_is_never_lost(messages):
    relay = Relay(messages.append)
    relay.begin_phase(number=0, name="1/1 likelihood", done=0, total=1000, step=0)
    for done in range(1, 1001):
        relay.tick(done=done)
    relay.say("That is it.")
    ticks = [arguments["done"] for name, arguments in messages if name == "tick"]
    assert ticks[-1] == 1000
    assert len(ticks) < 100
    assert messages[-1] == ("say", {"sentence": "That is it."})


def test_a_terminal_that_replays_messages_shows_what_the_worker_told(messages):
    relay, output = Relay(messages.append), io.StringIO()
    relay.begin_phase(number=1, name="2/3 adversarial", done=4, total=8, step=12)
    relay.tick(done=5)
    relay.show(losses={"generator/cost": 0.25}, tokens_per_second=1234.5)
    relay.say("step 5: all is well")
    with Terminal(Console(file=output, width=200)) as terminal:
        for message in messages:
            replay(message, terminal)
    assert "2/3 adversarial 5/8  generator cost 0.250  1,234 tokens/s" in output.getvalue()
    assert "step 5: all is well" in output.getvalue()
    assert terminal.furthest == (1, 5)
