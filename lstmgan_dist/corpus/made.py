"""Small texts with columns that are made here from nothing: short news with sections and headlines, and a timetable.

What stands in a row hangs together: a headline tells who won and where it will rain, and an answer is true of the
timetable. So what a generator writes can be checked. They are the project's own, under its licence.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from functools import cache

Row = dict[str, str]

_ROWS = 8000

_CITIES = (
    "lund",
    "porto",
    "bergen",
    "graz",
    "leeds",
    "nantes",
    "turku",
    "split",
    "galway",
    "siena",
    "gdansk",
    "malaga",
    "basel",
    "ghent",
    "brno",
    "tartu",
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def _sport(choose: random.Random) -> tuple[str, str]:
    winner, loser = choose.sample(_CITIES, 2)
    goals, others = choose.choice(_NUMBERS[2:6]), choose.choice(_NUMBERS[:2])
    scorer = choose.choice(("the captain", "a young striker", "the new signing", "a substitute"))
    article = (
        f"{winner} beat {loser} by {goals} goals to {others} on {choose.choice(_DAYS)}. "
        f"{scorer} scored {choose.choice(('early', 'late', 'twice', 'from a free kick'))} for the "
        f"{choose.choice(('home side', 'visitors'))}, and {loser} "
        f"{choose.choice(('never recovered', 'missed a penalty', 'finished with ten men', 'hit the post twice'))}."
    )
    return article, f"{winner} beat {loser} {goals} to {others}"


def _weather(choose: random.Random) -> tuple[str, str]:
    what, advice = choose.choice(
        (
            ("heavy rain", "drivers should allow more time"),
            ("strong winds", "ferries may be cancelled"),
            ("thick fog", "some flights will be late"),
            ("snow", "schools may stay closed"),
            ("a heat wave", "people should drink enough water"),
        )
    )
    city, day = choose.choice(_CITIES), choose.choice(_DAYS)
    article = (
        f"{what} will reach {city} on {day} {choose.choice(('morning', 'afternoon', 'evening'))}, forecasters say. "
        f"{advice}, and {choose.choice(('the coast', 'the hills', 'the old town', 'the airport'))} will see the worst "
        f"of it. it will {choose.choice(('last for two days', 'be over by the weekend', 'soon pass'))}."
    )
    return article, f"{what} expected in {city} on {day}"


def _markets(choose: random.Random) -> tuple[str, str]:
    company = choose.choice(("northern rail", "blue harbour", "green mills", "old bank", "first steel", "sun power"))
    moved, reason = choose.choice(
        (
            ("rose", "strong sales in spring"),
            ("rose", "a large order from abroad"),
            ("fell", "a warning about profits"),
            ("fell", "a strike at its largest plant"),
        )
    )
    percent = choose.choice(_NUMBERS)
    article = (
        f"shares of {company} {moved} by {percent} percent on {choose.choice(_DAYS)} after {reason}. "
        f"analysts in {choose.choice(_CITIES)} "
        f"{choose.choice(('had expected it', 'were surprised', 'see more to come'))}. "
        f"the company {choose.choice(('made no comment', 'will report next month', 'named a new director'))}."
    )
    return article, f"{company} {moved} {percent} percent after {reason}"


def _science(choose: random.Random) -> tuple[str, str]:
    city, subject = choose.choice(_CITIES), choose.choice(("crows", "bees", "octopuses", "ants", "parrots", "salmon"))
    finding = choose.choice(
        ("can count", "remember faces", "sleep in turns", "share their food", "find their way by smell")
    )
    article = (
        f"researchers in {city} have found that {subject} {finding}. they watched {choose.choice(_NUMBERS[3:])} "
        f"{choose.choice(('colonies', 'groups'))} for {choose.choice(_NUMBERS[1:])} years. "
        f"{choose.choice(('the study was published', 'the results were presented'))} on {choose.choice(_DAYS)}, and "
        f"{choose.choice(('other teams will repeat it', 'nobody had seen this before', 'more work is planned'))}."
    )
    return article, f"{subject} {finding}, study in {city} finds"


_SECTIONS: Mapping[str, Callable[[random.Random], tuple[str, str]]] = {
    "markets": _markets,
    "science": _science,
    "sport": _sport,
    "weather": _weather,
}


def news() -> Iterator[Row]:
    """Short articles with their sections and headlines: columns section, headline and article."""
    choose = random.Random(1)
    for _ in range(_ROWS):
        section = choose.choice([*_SECTIONS])
        article, headline = _SECTIONS[section](choose)
        yield {"section": section, "headline": headline, "article": article}


# Of each station: when its train leaves, from which platform, what a ticket costs, and how long it takes.
TIMETABLE: Mapping[str, Mapping[str, str]] = {
    city: {
        "leaves": _NUMBERS[number * 5 % 12],
        "platform": _NUMBERS[number * 7 % 9],
        "euros": f"{_NUMBERS[number * 3 % 8 + 2]} euros",
        "takes": f"{_NUMBERS[number % 4 + 1]} hours",
    }
    for number, city in enumerate(_CITIES)
}
_QUESTIONS = {
    "leaves": ("when does the train to {} leave", "what time is the train to {}", "when can i go to {}"),
    "platform": ("which platform is the train to {}", "where does the train to {} leave from"),
    "euros": ("how much is a ticket to {}", "what does it cost to go to {}", "is it expensive to go to {}"),
    "takes": ("how long does it take to {}", "is it far to {}", "how many hours is it to {}"),
}
_ANSWERS = {
    "leaves": ("the train to {} leaves at {}.", "it leaves at {1}.", "at {1}, every day."),
    "platform": ("the train to {} is on platform {}.", "platform {1}.", "it leaves from platform {1}."),
    "euros": ("a ticket to {} costs {}.", "that is {1}.", "{1}, please."),
    "takes": ("it takes {1} to {0}.", "about {1}.", "{1}, if it is on time."),
}
_BEFORE = ("", "", "hello, ", "excuse me, ", "good morning, ", "sorry, ", "one more thing, ")
_AFTER = ("", "", " please", " today", " tomorrow", " from here")


def timetable() -> Iterator[Row]:
    """Questions of travellers, and answers: columns said and answer."""
    choose = random.Random(2)
    for _ in range(_ROWS):
        city, about = choose.choice(_CITIES), choose.choice([*_QUESTIONS])
        question, answer = choose.choice(_QUESTIONS[about]), choose.choice(_ANSWERS[about])
        yield {
            "said": f"{choose.choice(_BEFORE)}{question.format(city)}{choose.choice(_AFTER)}?",
            "answer": answer.format(city, TIMETABLE[city][about]),
        }


MADE: Mapping[str, Callable[[], Iterator[Row]]] = {"builtin:news": news, "builtin:timetable": timetable}


@cache
def columns_of(name: str) -> dict[str, list[str]]:
    """All rows of one of these texts, column by column."""
    rows = list(MADE[name]())
    return {column: [row[column] for row in rows] for column in rows[0]}
